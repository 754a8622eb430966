#include "models/linear.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include "models/kernels/matmul.h"
#include "models/kernels/row_linear.h"

namespace weft {
namespace {

// Products of a few rows x [..., in] with several layers, [..., out_i] each.
std::vector<Tensor> row_products(const Tensor& x, std::initializer_list<const Linear*> layers) {
  std::vector<RowLinearLayer> parts;
  parts.reserve(layers.size());
  for (const Linear* layer : layers) parts.push_back({layer->weight, layer->bias});
  return row_linear(x, parts);
}

}  // namespace

void declare_linear(const ModelConfig& model, Projection projection, const std::string& name,
                    LinearShape shape, ParameterTable& table) {
  const bool into = projection == Projection::kInto;
  table.add({.name = name + ".weight",
             .shape = {shape.out, shape.in},
             .sharding = {into ? 0 : 1, MeshAxis::kTensor},
             .init = initial_linear(model, projection, shape.in)});
  if (shape.bias) {
    table.add({.name = name + ".bias",
               .shape = {shape.out},
               .sharding = into ? Sharding{0, MeshAxis::kTensor} : Sharding{},
               .init = {},
               .decay = WeightDecay::kNo});
  }
}

Linear::Linear(const ParameterStore& store, const std::string& name)
    : weight(store.compute(name + ".weight")) {
  if (store.table().find(name + ".bias") != nullptr) bias = store.compute(name + ".bias");
}

Tensor Linear::operator()(const Tensor& x) const {
  if (is_few_rows(x)) return row_products(x, {this})[0];
  return linear_product(x, weight, bias);
}

bool is_few_rows(const Tensor& x) {
  constexpr int64_t kFewRows = 8;
  return !at::GradMode::is_enabled() && x.is_cpu() && x.numel() <= kFewRows * x.size(-1);
}

Tensor joint_product(const Tensor& x, std::initializer_list<const Linear*> layers) {
  if (!at::GradMode::is_enabled()) return at::cat(joint_linear(x, layers), -1);
  std::vector<Tensor> weights, biases;
  for (const Linear* layer : layers) {
    weights.push_back(layer->weight);
    if (layer->bias.defined()) biases.push_back(layer->bias);
  }
  const Tensor weight = at::cat(weights);
  return linear_product(x, weight, biases.empty() ? Tensor{} : at::cat(biases));
}

std::vector<Tensor> joint_linear(const Tensor& x, std::initializer_list<const Linear*> layers) {
  if (is_few_rows(x)) return row_products(x, layers);
  if (!at::GradMode::is_enabled()) {  // copying the weights side by side pays in training alone
    std::vector<Tensor> products;
    for (const Linear* layer : layers) products.push_back((*layer)(x));
    return products;
  }
  std::vector<int64_t> sizes;
  for (const Linear* layer : layers) sizes.push_back(layer->weight.size(0));
  return joint_product(x, layers).split_with_sizes(sizes, -1);
}

}  // namespace weft
