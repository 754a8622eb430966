#include "models/linear.h"

#include <cmath>

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>

namespace weft {

double initial_deviation(const ModelConfig& model, Projection projection) {
  if (projection != Projection::kBack || !model.init.depth_scaled) return model.init.std;
  return model.init.std / std::sqrt(2.0 * static_cast<double>(model.layers.size()));
}

void declare_linear(const ModelConfig& model, Projection projection, const std::string& name,
                    LinearShape shape, ParameterTable& table) {
  const bool into = projection == Projection::kInto;
  table.add(
      {.name = name + ".weight",
       .shape = {shape.out, shape.in},
       .sharding = {into ? 0 : 1, MeshAxis::kTensor},
       .init = {.kind = Initializer::Kind::kNormal, .a = initial_deviation(model, projection)}});
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
  return bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
}

std::vector<Tensor> joint_linear(const Tensor& x, std::initializer_list<const Linear*> layers) {
  std::vector<Tensor> weights, biases;
  std::vector<int64_t> sizes;
  for (const Linear* layer : layers) {
    weights.push_back(layer->weight);
    sizes.push_back(layer->weight.size(0));
    if (layer->bias.defined()) biases.push_back(layer->bias);
  }
  const Tensor weight = at::cat(weights);
  const Tensor y = biases.empty() ? at::linear(x, weight) : at::linear(x, weight, at::cat(biases));
  return y.split_with_sizes(sizes, -1);
}

}  // namespace weft
