#include "models/kernels/cpu/stages.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include <ATen/Parallel.h>
#include <immintrin.h>
#include <omp.h>

#include "base/check.h"

namespace weft::cpu {
namespace {

// Reading this takes a thread some 2 us; starting and joining two threads takes 1 us where they
// spin while they wait, and 5 us where they don't.
constexpr int64_t kBytesPerThread = 48 << 10;

// What a thread reads in some 0.3 us: the least that another takes over from it.
constexpr int64_t kBytesPerTask = 8 << 10;

// With fewer tasks to a thread, sharing takes longer than waiting.
constexpr int64_t kWorthSharing = 64;

// Looks at what another thread is about to write before this one offers its core: some 50 us.
constexpr int kSpins = 2000;

struct TaskSpan {
  int64_t begin, end;
};

// The tasks of a thread's share that nobody has taken, in one word, so that its thread and others
// can take some at any time.
class alignas(64) TaskShare {
 public:
  void assign(int64_t begin, int64_t end) { word_ = pack({begin, end}); }

  // Half of them, rounded up, from the front or from the back, or all; none if none is left.
  TaskSpan take_front() {
    return take([](TaskSpan left) { return TaskSpan{left.begin, middle(left)}; });
  }
  TaskSpan take_back() {
    return take([](TaskSpan left) {
      return TaskSpan{left.begin + left.end - middle(left), left.end};
    });
  }
  TaskSpan take_all() {
    return take([](TaskSpan left) { return left; });
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

// How often threads have come to the end of a stage.
class alignas(64) Arrivals {
 public:
  void add() { count_.fetch_add(1, std::memory_order_acq_rel); }
  void wait_for(int64_t count) const {
    for (int spins = 0; count_.load(std::memory_order_acquire) < count;) {
      if (spins < kSpins) {
        ++spins;
        _mm_pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  std::atomic<int64_t> count_{0};
};

}  // namespace

int64_t Stages::max_threads() { return at::in_parallel_region() ? 1 : at::get_num_threads(); }

void Stages::add(int64_t rows, int64_t row_bytes, Part part) {
  const int64_t rows_per_task =
      std::max<int64_t>(1, kBytesPerTask / std::max<int64_t>(1, row_bytes));
  const int64_t tasks = (rows + rows_per_task - 1) / rows_per_task;
  WEFT_CHECK(tasks < int64_t{1} << 32, tasks, " tasks of stage ", stages_.size());
  bytes_ = std::max(bytes_, rows * row_bytes);
  stages_.push_back({rows, rows_per_task, tasks, std::move(part)});
}

void Stages::run() const {
  const int64_t threads =
      std::clamp<int64_t>((bytes_ + kBytesPerThread - 1) / kBytesPerThread, 1, max_threads());
  // Of a stage and the next one, in turn: few lines of the caches, however many stages there are.
  std::vector<TaskShare> shares(2 * static_cast<size_t>(threads));
  const auto share_of = [&](size_t s, int64_t thread) -> TaskShare& {
    return shares[s % 2 * threads + thread];
  };
  const auto assign = [&](size_t s, int64_t thread) {
    if (s == stages_.size()) return;
    const int64_t tasks = stages_[s].tasks;
    share_of(s, thread).assign(thread * tasks / threads, (thread + 1) * tasks / threads);
  };
  for (int64_t thread = 0; thread < threads && !stages_.empty(); ++thread) assign(0, thread);
  // The thread's share, and then what others have not begun of theirs.
  const auto run_stage = [&](size_t s, int64_t thread) {
    const Stage& stage = stages_[s];
    const bool shared = stage.tasks >= kWorthSharing * threads;
    for (int64_t step = 0; step < threads; ++step) {
      TaskShare& share = share_of(s, (thread + step) % threads);
      const auto next = [&] {
        if (!shared) return share.take_all();
        return step == 0 ? share.take_front() : share.take_back();
      };
      TaskSpan span;
      while (span = next(), span.begin < span.end) {
        stage.part(thread, span.begin * stage.rows_per_task,
                   std::min(stage.rows, span.end * stage.rows_per_task));
      }
    }
  };
  Arrivals arrivals;
  // Never a team of another size than LibTorch's: libgomp would end threads and start them again.
  // libgomp's own barrier makes a system call each time, which takes longer than some stages.
#pragma omp parallel if (threads > 1)
  {
    const int64_t thread = omp_get_thread_num();
    const auto team = std::min<int64_t>(threads, omp_get_num_threads());
    for (size_t s = 0; s < stages_.size() && thread < team; ++s) {
      arrivals.wait_for(static_cast<int64_t>(s) * team);
      run_stage(s, thread);
      // Nobody looks at the shares of the stage before this one any more. A thread gives the next
      // stage's to those that the team lacks, too.
      for (int64_t i = thread; i < threads; i += team) assign(s + 1, i);
      arrivals.add();
    }
  }
}

}  // namespace weft::cpu
