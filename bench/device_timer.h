#pragma once
// Times of work on the CPU or a GPU, until its results are there.
#include <chrono>

#include <c10/core/Device.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace weft {

class DeviceTimer {
 public:
  // Starts now, once all earlier work on the device is done.
  explicit DeviceTimer(at::Device device) : device_(device) {
    wait();
    start_ = Clock::now();
  }

  // Milliseconds until all work since then is done.
  double ms() const {
    wait();
    return std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;

  void wait() const {
    if (device_.is_cpu()) return;
    c10::impl::VirtualGuardImpl(device_.type()).synchronizeDevice(device_.index());
  }

  at::Device device_;
  Clock::time_point start_;
};

}  // namespace weft
