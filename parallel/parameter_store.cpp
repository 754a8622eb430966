#include "parallel/parameter_store.h"

#include <cmath>
#include <functional>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "base/check.h"
#include "base/random.h"

namespace weft {
namespace {

// Elements of a parameter are made in pieces of this many, on whichever thread is free.
constexpr int64_t kPiece = 1 << 16;

double inverse_softplus(double x) { return x + std::log(-std::expm1(-x)); }

// Whether the model computes with the master itself.
bool is_shared(const ParameterSpec& spec, const StoreTypes& types) {
  return types.master == types.compute || spec.compute == ComputeType::kMaster;
}

// Elements [first, first + out.size()) of the logical tensor.
void fill_piece(const ParameterSpec& spec, const RandomStream& stream, int64_t first,
                std::span<double> out) {
  const Initializer& init = spec.init;
  switch (init.kind) {
    case Initializer::Kind::kConstant:
      for (double& x : out) x = init.a;
      return;
    case Initializer::Kind::kNormal:
      stream.fill_normal(first, out);
      for (double& x : out) x *= init.a;
      return;
    case Initializer::Kind::kUniform:
      stream.fill_uniform(first, out);
      for (double& x : out) x = init.a * (2.0 * x - 1.0);
      return;
    case Initializer::Kind::kLogArange: {
      const int64_t n = spec.shape.back();
      for (size_t i = 0; i < out.size(); ++i) out[i] = std::log(1.0 + (first + i) % n);
      return;
    }
    case Initializer::Kind::kLogUniform:
      stream.fill_uniform(first, out);
      for (double& x : out) x = std::log(init.a + (init.b - init.a) * x);
      return;
    case Initializer::Kind::kInverseSoftplus: {
      stream.fill_uniform(first, out);
      const double log_low = std::log(init.a);
      const double log_range = std::log(init.b) - log_low;
      for (double& x : out) {
        x = inverse_softplus(std::max(std::exp(x * log_range + log_low), init.c));
      }
      return;
    }
  }
}

}  // namespace

Tensor initial_value(const ParameterSpec& spec, uint64_t seed, at::ScalarType type) {
  WEFT_CHECK(type == at::kFloat || type == at::kDouble, "masters are fp32 or fp64");
  Tensor value = at::empty(spec.shape, type);
  const RandomStream stream(seed, "init", spec.name);
  const int64_t n = spec.numel();
  at::parallel_for(0, (n + kPiece - 1) / kPiece, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> piece;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * kPiece;
      piece.resize(std::min(kPiece, n - first));
      fill_piece(spec, stream, first, piece);
      if (type == at::kFloat) {
        std::copy(piece.begin(), piece.end(), value.data_ptr<float>() + first);
      } else {
        std::copy(piece.begin(), piece.end(), value.data_ptr<double>() + first);
      }
    }
  });
  if (spec.init.zero_row >= 0) value.select(0, spec.init.zero_row).zero_();
  return value;
}

int64_t store_bytes(const ParameterTable& table, const StoreTypes& types, Gradients gradients) {
  const auto master = static_cast<int64_t>(c10::elementSize(types.master));
  const auto compute = static_cast<int64_t>(c10::elementSize(types.compute));
  const bool kept = gradients == Gradients::kKept;
  int64_t bytes = 0;
  for (const ParameterSpec& spec : table.rows()) {
    int64_t width = is_shared(spec, types) ? master : compute;
    if (kept) width += is_shared(spec, types) ? master : 2 * master + compute;
    bytes += spec.numel() * width;
  }
  return bytes;
}

ParameterStore::ParameterStore(const ParameterTable& table, StoreTypes types, Gradients gradients)
    : table_(table), types_(types) {
  parameters_.reserve(table.rows().size());
  const auto master = at::TensorOptions().dtype(types.master).device(types.device);
  const bool kept = gradients == Gradients::kKept;
  for (const ParameterSpec& spec : table.rows()) {
    const bool same = is_shared(spec, types);
    Parameter p{&spec, {}, {}, {}};
    if (same || kept) p.master = at::empty(spec.shape, master);
    p.compute = same ? p.master : at::empty(spec.shape, master.dtype(types.compute));
    if (kept) {
      p.gradient = at::zeros(spec.shape, master);
      p.compute.set_requires_grad(true);
      // Backward then adds straight into `gradient`.
      if (same) p.compute.mutable_grad() = p.gradient;
    }
    by_name_.emplace(spec.name, parameters_.size());
    parameters_.push_back(std::move(p));
  }
}

void ParameterStore::initialize(uint64_t seed) {
  const at::NoGradGuard no_grad;
  for (Parameter& p : parameters_) {
    p.master.copy_(initial_value(*p.spec, seed, types_.master));
  }
  refresh_compute();
}

const Parameter& ParameterStore::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  WEFT_CHECK(found != by_name_.end(), "no parameter '", name, "'");
  return parameters_[found->second];
}

const Tensor& ParameterStore::compute(const std::string& name) const { return find(name).compute; }

const Tensor& ParameterStore::gradient(const std::string& name) const {
  return find(name).gradient;
}

void ParameterStore::refresh_compute() {
  const at::NoGradGuard no_grad;
  for (Parameter& p : parameters_) {
    if (!p.compute.is_same(p.master)) p.compute.copy_(p.master);
  }
}

void ParameterStore::collect_gradients() {
  const at::NoGradGuard no_grad;
  for (Parameter& p : parameters_) {
    if (p.compute.is_same(p.master) || !p.compute.grad().defined()) continue;
    p.gradient.add_(p.compute.grad());
    p.compute.mutable_grad().reset();
  }
}

void ParameterStore::clear_gradients() {
  const at::NoGradGuard no_grad;
  for (Parameter& p : parameters_) p.gradient.zero_();
}

}  // namespace weft
