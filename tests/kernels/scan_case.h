#pragma once
// Inputs of the selective scan for tests, and all that comes out of it.
#include <string>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "models/kernels/selective_scan.h"

namespace weft {

struct ScanCase {
  int64_t batch, time, channels, states;
};

inline void PrintTo(const ScanCase& c, std::ostream* out) {
  *out << c.batch << "x" << c.time << "x" << c.channels << "x" << c.states;
}

// Random inputs, the same for the same case, of a usual size for each; `type` is the storage type,
// and values are rounded to it before they are widened to another.
inline SelectiveScanInputs scan_inputs(const ScanCase& s, at::ScalarType type) {
  const at::Generator random = at::detail::createCPUGenerator(7);
  const auto normal = [&](std::vector<int64_t> sizes) {
    return at::randn(sizes, random, at::TensorOptions(at::kDouble));
  };
  const auto parameter = type == at::kDouble ? at::kDouble : at::kFloat;
  SelectiveScanInputs in;
  in.x = normal({s.batch, s.time, s.channels}).to(type);
  in.dt = normal({s.batch, s.time, s.channels}).to(type);
  in.b = normal({s.batch, s.time, s.states}).to(type);
  in.c = normal({s.batch, s.time, s.states}).to(type);
  in.z = normal({s.batch, s.time, s.channels}).to(type);
  in.a_log = (normal({s.channels, s.states}) * 0.7).to(parameter);
  in.d = normal({s.channels}).to(parameter);
  in.dt_bias = (normal({s.channels}) - 2.0).to(parameter);
  in.starts = at::rand({s.batch, s.time}, random, at::TensorOptions(at::kDouble)) < 0.05;
  return in;
}

// Tokens first .. first + length - 1 of every input.
inline SelectiveScanInputs slice_time(const SelectiveScanInputs& in, int64_t first,
                                      int64_t length) {
  SelectiveScanInputs out = in;
  for (Tensor* t : {&out.x, &out.dt, &out.b, &out.c, &out.z, &out.starts}) {
    *t = t->narrow(1, first, length);
  }
  return out;
}

inline std::vector<Tensor*> differentiable(SelectiveScanInputs& in) {
  return {&in.x, &in.dt, &in.b, &in.c, &in.z, &in.a_log, &in.d, &in.dt_bias};
}

inline const std::vector<std::string> kScanResults = {"y",  "dx",     "ddt", "db",      "dc",
                                                      "dz", "da_log", "dd",  "ddt_bias"};

// The same case with a state to go on from, about as large as the scan itself makes them.
inline SelectiveScanInputs scan_inputs_with_state(const ScanCase& s, at::ScalarType type) {
  const at::Generator random = at::detail::createCPUGenerator(13);
  SelectiveScanInputs in = scan_inputs(s, type);
  const std::vector<int64_t> sizes = {s.batch, s.channels, s.states};
  in.initial_state =
      at::randn(sizes, random, at::TensorOptions(at::kDouble)).to(in.a_log.scalar_type());
  return in;
}

// y and the final state by `scan`, computed with inputs converted to `type` first.
template <class Scan>
std::vector<Tensor> state_results(const Scan& scan, SelectiveScanInputs in, at::ScalarType type) {
  const auto parameter = type == at::kDouble ? at::kDouble : at::kFloat;
  for (Tensor* t : {&in.x, &in.dt, &in.b, &in.c, &in.z}) *t = t->to(type);
  for (Tensor* t : {&in.a_log, &in.d, &in.dt_bias}) *t = t->to(parameter);
  if (in.initial_state.defined()) in.initial_state = in.initial_state.to(parameter);
  if (in.a.defined()) in.a = in.a.to(parameter);
  const ScanOutputs out = scan(in);
  return {out.y, out.final_state};
}

// The weights of the loss sum(weight * y) whose gradients are looked at.
inline Tensor scan_loss_weight(const Tensor& y) {
  const at::Generator random = at::detail::createCPUGenerator(11);
  return at::randn(y.sizes(), random, at::TensorOptions(at::kDouble)).to(y.options());
}

// y and the gradients of all inputs by `scan`, computed with inputs converted to `type` first
// (parameters to fp32 at least).
template <class Scan>
std::vector<Tensor> scan_results(const Scan& scan, SelectiveScanInputs in, at::ScalarType type) {
  const auto parameter = type == at::kDouble ? at::kDouble : at::kFloat;
  for (Tensor* t : differentiable(in)) {
    const bool is_parameter = t->dim() < 3;
    *t = t->detach().to(is_parameter ? parameter : type).set_requires_grad(true);
  }
  const Tensor y = scan(in);
  y.backward(scan_loss_weight(y));
  std::vector<Tensor> results = {y.detach()};
  for (Tensor* t : differentiable(in)) results.push_back(t->grad());
  return results;
}

}  // namespace weft
