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

ExpertLinear::ExpertLinear(const ParameterStore& store, const std::string& name)
    : weight(store.compute(name)), sum(store.gradient(name)) {}

Tensor ExpertLinear::operator()(const Tensor& x, const RowGroups& groups, Values values) const {
  return grouped_linear(x, groups, weight, sum, values);
}

bool is_few_rows(const Tensor& x) {
  constexpr int64_t kFewRows = 8;
  return !at::GradMode::is_enabled() && x.is_cpu() && x.numel() <= kFewRows * x.size(-1);
}

}  // namespace weft
