#pragma once
// A parameter store with chosen values, in fp64 unless said otherwise.
#include <memory>
#include <string>

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "parallel/parameter_store.h"

namespace weft {

inline StoreTypes cpu_types(at::ScalarType type) { return {type, type, at::kCPU}; }

inline void set_parameter(ParameterStore& store, const std::string& name, const Tensor& value) {
  const at::NoGradGuard no_grad;
  for (Parameter& p : store.parameters()) {
    if (p.spec->name != name) continue;
    WEFT_CHECK(p.master.sizes() == value.sizes(), name, " has another shape");
    p.master.copy_(value);
    store.refresh_compute();
    return;
  }
  WEFT_CHECK(false, "no parameter ", name);
}

inline const Tensor& gradient_of(const ParameterStore& store, const std::string& name) {
  for (const Parameter& p : store.parameters()) {
    if (p.spec->name == name) return p.gradient;
  }
  WEFT_CHECK(false, "no parameter ", name);
}

}  // namespace weft
