#include "models/kernels/cpu/tasks.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <vector>

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>

#include "base/check.h"

namespace weft::cpu {
namespace {

struct TaskSpan {
  int64_t begin, end;
};

// The tasks of a thread's share that nobody has taken, in one word, so that its thread and others
// can take some at any time.
class alignas(64) TaskShare {
 public:
  void assign(int64_t begin, int64_t end) { word_ = pack({begin, end}); }

  // Half of them, rounded up, from the front or from the back; none if none is left.
  TaskSpan take_front() {
    return take([](TaskSpan left) { return TaskSpan{left.begin, middle(left)}; });
  }
  TaskSpan take_back() {
    return take([](TaskSpan left) {
      return TaskSpan{left.begin + left.end - middle(left), left.end};
    });
  }

 private:
  static int64_t middle(TaskSpan span) { return span.begin + (span.end - span.begin + 1) / 2; }
  static uint64_t pack(TaskSpan span) {
    return static_cast<uint64_t>(span.begin) << 32 | static_cast<uint64_t>(span.end);
  }
  static TaskSpan unpack(uint64_t word) {
    return {static_cast<int64_t>(word >> 32), static_cast<int64_t>(word & 0xFFFFFFFFu)};
  }

  template <class F>
  TaskSpan take(const F& choose) {
    uint64_t word = word_.load(std::memory_order_relaxed);
    while (true) {
      const TaskSpan left = unpack(word), taken = choose(left);
      const TaskSpan rest = taken.begin == left.begin ? TaskSpan{taken.end, left.end}
                                                      : TaskSpan{left.begin, taken.begin};
      if (word_.compare_exchange_weak(word, pack(rest), std::memory_order_relaxed)) return taken;
    }
  }

  std::atomic<uint64_t> word_;
};

float narrow(float x, float) { return x; }
double narrow(double x, double) { return x; }
Bf16 narrow(float x, Bf16) { return Bf16{c10::BFloat16(x).x}; }

constexpr std::align_val_t kAlignment{64};

}  // namespace

void AlignedDelete::operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }

AlignedBytes aligned_bytes(int64_t size) {
  return AlignedBytes(
      static_cast<std::byte*>(::operator new(static_cast<size_t>(size), kAlignment)));
}

void run_tasks(int64_t count, int64_t workspace_bytes, const std::function<void(int64_t, void*)>& f,
               int64_t at_least) {
  at::parallel_for(0, count, at_least, [&](int64_t begin, int64_t end) {
    const AlignedBytes workspace = aligned_bytes(workspace_bytes);
    for (int64_t task = begin; task < end; ++task) f(task, workspace.get());
  });
}

void run_shared_tasks(int64_t count, const std::function<void(int64_t, int64_t)>& f,
                      int64_t at_least) {
  WEFT_CHECK(count < int64_t{1} << 32, count, " tasks");
  constexpr int64_t kWorthSharing = 64;  // with fewer, sharing takes longer than waiting
  const int64_t threads = at::get_num_threads();
  if (at::in_parallel_region() || threads == 1 || count < kWorthSharing * threads) {
    return at::parallel_for(0, count, at_least, f);
  }
  std::vector<TaskShare> shares(static_cast<size_t>(threads));
  for (int64_t i = 0; i < threads; ++i) {
    shares[i].assign(i * count / threads, (i + 1) * count / threads);
  }
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t own = begin; own < end; ++own) {
      TaskSpan span;
      while (span = shares[own].take_front(), span.begin < span.end) f(span.begin, span.end);
      for (int64_t step = 1; step < threads; ++step) {
        TaskShare& other = shares[(own + step) % threads];
        while (span = other.take_back(), span.begin < span.end) f(span.begin, span.end);
      }
    }
  });
}

template <class S>
void sum_partials(const Compute<S>* partials, int64_t count, int64_t size, S* out) {
  constexpr int64_t kBlock = 1024;
  at::parallel_for(0, (size + kBlock - 1) / kBlock, 8, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kBlock, length = std::min(kBlock, size - first);
      Compute<S> sums[kBlock] = {};
      for (int64_t p = 0; p < count; ++p) {
        const Compute<S>* part = partials + p * size + first;
        for (int64_t i = 0; i < length; ++i) sums[i] += part[i];
      }
      for (int64_t i = 0; i < length; ++i) out[first + i] = narrow(sums[i], S{});
    }
  });
}

template void sum_partials<float>(const float*, int64_t, int64_t, float*);
template void sum_partials<double>(const double*, int64_t, int64_t, double*);
template void sum_partials<Bf16>(const float*, int64_t, int64_t, Bf16*);

}  // namespace weft::cpu
