#include "models/linear.h"

#include <ATen/core/grad_mode.h>

#include "models/kernels/row_linear.h"

namespace weft {

void declare_linear(const ModelConfig& model, Projection projection, const std::string& name,
                    LinearShape shape, ParameterTable& table) {
  const bool into = projection == Projection::kInto;
  const auto joint = [&](const char* row) { return shape.joint.empty() ? "" : shape.joint + row; };
  table.add({.name = name + ".weight",
             .shape = {shape.out, shape.in},
             .sharding = {into ? 0 : 1, MeshAxis::kTensor},
             .init = initial_linear(model, projection, shape.in),
             .joint = joint(".weight")});
  if (shape.bias) {
    table.add({.name = name + ".bias",
               .shape = {shape.out},
               .sharding = into ? Sharding{0, MeshAxis::kTensor} : Sharding{},
               .init = {},
               .decay = WeightDecay::kNo,
               .joint = joint(".bias")});
  }
}

Linear::Linear(const ParameterStore& store, const std::string& name)
    : weight(store.compute(name + ".weight")), sums{store.gradient(name + ".weight"), {}} {
  if (!store.has(name + ".bias")) return;
  bias = store.compute(name + ".bias");
  sums.bias = store.gradient(name + ".bias");
}

Tensor Linear::operator()(const Tensor& x, Values values) const {
  if (is_few_rows(x)) return row_linear(x, weight, bias);
  return linear_product(x, weight, bias, sums, values);
}

std::vector<Linear> expert_layers(const ParameterStore& store, const std::string& name) {
  const Tensor& all = store.compute(name);
  const Tensor& sums = store.gradient(name);
  std::vector<Linear> layers;
  for (int64_t expert = 0; expert < all.size(0); ++expert) {
    Linear layer(all.select(0, expert).detach().set_requires_grad(all.requires_grad()));
    if (sums.defined()) layer.sums.weight = sums.select(0, expert);
    // What is not multiplied with the sums above is added there by autograd.
    if (sums.defined() && sums.scalar_type() == all.scalar_type()) {
      layer.weight.mutable_grad() = layer.sums.weight;
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

bool is_few_rows(const Tensor& x) {
  constexpr int64_t kFewRows = 8;
  return !at::GradMode::is_enabled() && x.is_cpu() && x.numel() <= kFewRows * x.size(-1);
}

}  // namespace weft
