#pragma once
// Rows of the parameter table for linear layers, and products with several of them at once.
#include <initializer_list>
#include <string>

#include "base/tensor.h"
#include "models/config.h"
#include "models/initial.h"
#include "parallel/parameter_store.h"

namespace weft {

// Adds "<name>.weight" [out, in] and, if `bias`, "<name>.bias" [out] = 0.
struct LinearShape {
  int64_t out, in;
  bool bias = false;
};
void declare_linear(const ModelConfig& model, Projection projection, const std::string& name,
                    LinearShape shape, ParameterTable& table);

// A weight and its bias (undefined if it has none).
struct Linear {
  Tensor weight;  // [out, in]
  Tensor bias;    // [out]
  Linear() = default;
  Linear(const ParameterStore& store, const std::string& name);
  explicit Linear(Tensor w, Tensor b = {}) : weight(std::move(w)), bias(std::move(b)) {}
  Tensor operator()(const Tensor& x) const;  // [..., in] -> [..., out]
};

// Whether x [..., in] has so few rows, and no gradient is wanted, that products with it are bound
// by reading the weights: these go through a kernel of their own (models/kernels/row_linear.h).
bool is_few_rows(const Tensor& x);

// Several layers of one input as one matrix product: x [..., in] -> [..., sum of out_i], and the
// same as one view [..., out_i] each.
Tensor joint_product(const Tensor& x, std::initializer_list<const Linear*> layers);
std::vector<Tensor> joint_linear(const Tensor& x, std::initializer_list<const Linear*> layers);

}  // namespace weft
