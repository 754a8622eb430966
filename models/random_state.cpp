#include "models/random_state.h"

#include <mutex>

#include <ATen/Context.h>

namespace weft {

RandomState::RandomState(at::Device device) {
  const auto add = [&](at::Device of) {
    at::Generator generator = at::globalContext().defaultGenerator(of);
    const std::lock_guard<std::mutex> lock(generator.mutex());
    states_.push_back({generator, generator.get_state()});
  };
  add(at::kCPU);
  if (!device.is_cpu()) add(device);
}

void RandomState::restore() const {
  for (const Of& of : states_) {
    at::Generator generator = of.generator;
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(of.state);
  }
}

}  // namespace weft
