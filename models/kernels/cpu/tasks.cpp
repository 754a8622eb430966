#include "models/kernels/cpu/tasks.h"

#include <algorithm>
#include <atomic>

#include <ATen/Parallel.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/alignment.h>
#include <c10/util/BFloat16.h>

namespace weft::cpu {
namespace {

float narrow(float x, float) { return x; }
double narrow(double x, double) { return x; }
Bf16 narrow(float x, Bf16) { return Bf16{c10::BFloat16(x).x}; }

struct AtEnd {
  const std::function<void()>& f;
  ~AtEnd() { f(); }
};

}  // namespace

// From where tensors have theirs: it asks again where memory is short (base/retrying_allocator.h).
static_assert(c10::gAlignment >= 64);

void AlignedDelete::operator()(std::byte* memory) const {
  c10::GetCPUAllocator()->raw_deallocate(memory);
}

AlignedBytes aligned_bytes(int64_t size) {
  void* const memory = c10::GetCPUAllocator()->raw_allocate(static_cast<size_t>(size));
  return AlignedBytes(static_cast<std::byte*>(memory));
}

void run_tasks(int64_t count, int64_t workspace_bytes, const std::function<void(int64_t, void*)>& f,
               int64_t at_least) {
  at::parallel_for(0, count, at_least, [&](int64_t begin, int64_t end) {
    const AlignedBytes workspace = aligned_bytes(workspace_bytes);
    for (int64_t task = begin; task < end; ++task) f(task, workspace.get());
  });
}

void run_uneven_tasks(int64_t count, int64_t workspace_bytes,
                      const std::function<void(int64_t, void*)>& f,
                      const std::function<void()>& at_end) {
  std::atomic<int64_t> next{0};
  const int64_t workers = std::min<int64_t>(count, at::get_num_threads());
  at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    const AtEnd end_of_thread{at_end};
    const AlignedBytes workspace = aligned_bytes(workspace_bytes);
    for (int64_t worker = begin; worker < end; ++worker) {
      for (int64_t task; (task = next.fetch_add(1)) < count;) f(task, workspace.get());
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
