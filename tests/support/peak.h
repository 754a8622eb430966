#pragma once
// How much memory work takes at most, exactly and the same each time: what LibTorch's allocator is
// asked for, not what the process has.
#include <algorithm>
#include <cstdint>
#include <memory>

#include <ATen/Parallel.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

namespace weft {

class AllocatedBytes final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
    now_ += bytes;
    peak_ = std::max(peak_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }

  int64_t peak() const { return peak_; }

 private:
  int64_t now_ = 0, peak_ = 0;
};

// Most bytes of tensors and kernels' workspaces at once that f() makes on the CPU, on one thread.
template <class F>
int64_t peak_bytes(const F& f) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto bytes = std::make_shared<AllocatedBytes>();
  {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, bytes);
    f();
  }
  at::set_num_threads(threads);
  return bytes->peak();
}

}  // namespace weft
