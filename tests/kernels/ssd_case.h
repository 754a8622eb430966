#pragma once
// Inputs of the SSD operator for tests, and all that comes out of it.
#include <string>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>

#include "models/kernels/ssd.h"

namespace weft {

struct SsdCase {
  int64_t batch, time, heads, width, groups, states;
};

inline void PrintTo(const SsdCase& c, std::ostream* out) {
  *out << c.batch << "x" << c.time << "x" << c.heads << "x" << c.width << "_" << c.groups << "x"
       << c.states;
}

enum class SsdStart { kZeros, kState };

// Random inputs, the same for the same case, of usual sizes: steps of 0.01 to 0.3, a of -0.2 to -5,
// a document start at one token in twelve. `type` is the storage type.
inline SsdInputs ssd_inputs(const SsdCase& s, at::ScalarType type,
                            SsdStart start = SsdStart::kZeros) {
  const at::Generator random = at::detail::createCPUGenerator(7);
  const auto normal = [&](std::vector<int64_t> sizes) {
    return at::randn(sizes, random, at::TensorOptions(at::kDouble));
  };
  const auto parameter = type == at::kDouble ? at::kDouble : at::kFloat;
  SsdInputs in;
  in.x = normal({s.batch, s.time, s.heads, s.width}).to(type);
  in.dt = (normal({s.batch, s.time, s.heads}) * 0.7 - 2.5).exp().to(parameter);
  in.a = -(normal({s.heads}) * 0.8).exp().to(parameter);
  in.b = normal({s.batch, s.time, s.groups, s.states}).to(type);
  in.c = normal({s.batch, s.time, s.groups, s.states}).to(type);
  in.d = normal({s.heads}).to(parameter);
  in.starts = at::rand({s.batch, s.time}, random, at::TensorOptions(at::kDouble)) < 1.0 / 12;
  if (start == SsdStart::kState) {
    in.initial_state = normal({s.batch, s.heads, s.width, s.states}).to(parameter);
    // Row 0 goes on from its state, row 1 starts anew.
    if (s.time > 0 && s.batch > 0) in.starts.select(1, 0).select(0, 0).fill_(false);
    if (s.time > 0 && s.batch > 1) in.starts.select(1, 0).select(0, 1).fill_(true);
  }
  return in;
}

inline std::vector<Tensor*> differentiable(SsdInputs& in) {
  return {&in.x, &in.dt, &in.a, &in.b, &in.c, &in.d};
}

inline const std::vector<std::string> kSsdResults = {"y",  "final_state", "dx", "ddt",
                                                     "da", "db",          "dc", "dd"};

// The weights of the loss sum(weight * y) whose gradients are looked at.
inline Tensor ssd_loss_weight(const Tensor& y) {
  const at::Generator random = at::detail::createCPUGenerator(11);
  return at::randn(y.sizes(), random, at::TensorOptions(at::kDouble)).to(y.options());
}

// y, the final state and the gradients of all inputs by `run`, computed with inputs converted to
// `type` first (dt, a, d and the state to fp32 at least).
template <class Run>
std::vector<Tensor> ssd_results(const Run& run, SsdInputs in, at::ScalarType type) {
  const auto parameter = type == at::kDouble ? at::kDouble : at::kFloat;
  for (Tensor* t : differentiable(in)) {
    const bool stored = t->dim() == 4;
    *t = t->detach().to(stored ? type : parameter).set_requires_grad(true);
  }
  if (in.initial_state.defined()) in.initial_state = in.initial_state.to(parameter);
  const SsdOutputs out = run(in);
  out.y.backward(ssd_loss_weight(out.y));
  std::vector<Tensor> results = {out.y.detach(), out.final_state};
  for (Tensor* t : differentiable(in)) {  // none where nothing came of an input
    results.push_back(t->grad().defined() ? t->grad() : at::zeros_like(*t).detach());
  }
  return results;
}

}  // namespace weft
