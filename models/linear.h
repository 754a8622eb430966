#pragma once
// Linear layers: their rows in the parameter table, and products with them.
#include <string>

#include "base/tensor.h"
#include "models/config.h"
#include "models/initial.h"
#include "models/kernels/grouped_linear.h"
#include "models/kernels/matmul.h"
#include "parallel/parameter_store.h"

namespace weft {

// Adds "<name>.weight" [out, in] and, if `bias`, "<name>.bias" [out] = 0. Layers of one input with
// one `joint` name are also one layer of that name, their outputs side by side.
struct LinearShape {
  int64_t out, in;
  bool bias = false;
  std::string joint = {};
};
void declare_linear(const ModelConfig& model, Projection projection, const std::string& name,
                    LinearShape shape, ParameterTable& table);

// A weight and its bias (undefined if it has none). Of a store's: gradients go straight into its
// sums.
struct Linear {
  Tensor weight;  // [out, in]
  Tensor bias;    // [out]
  LinearSums sums;
  Linear() = default;
  // The rows declared with `name`, or with this `joint` name.
  Linear(const ParameterStore& store, const std::string& name);
  explicit Linear(Tensor w, Tensor b = {}) : weight(std::move(w)), bias(std::move(b)) {}
  // [..., in] -> [..., out]; `values`: as of linear_product.
  Tensor operator()(const Tensor& x, Values values = Values::kWanted) const;
};

// A layer [out, in] of each expert: the row `name` [E, out, in].
struct ExpertLinear {
  Tensor weight, sum;
  ExpertLinear(const ParameterStore& store, const std::string& name);
  // [R, in] -> [R, out], with gradients as of Linear.
  Tensor operator()(const Tensor& x, const RowGroups& groups,
                    Values values = Values::kWanted) const;
};

// Whether x [..., in] has so few rows, and no gradient is wanted, that products with it are bound
// by reading the weights: these go through a kernel of their own (models/kernels/row_linear.h).
bool is_few_rows(const Tensor& x);

}  // namespace weft
