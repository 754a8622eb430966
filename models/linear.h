#pragma once
// Rows of the parameter table for linear layers, and products with several of them at once.
#include <initializer_list>
#include <string>

#include "base/tensor.h"
#include "models/config.h"
#include "parallel/parameter_store.h"

namespace weft {

// kInto: from the residual stream (q, k, v, gate, up, ...), split by output rows. kBack: back into
// it (o, down, out), split by input columns and scaled when depth_scaled. kReduce: from split
// channels to a few values that every rank needs (Mamba's dt, B, C), split by input columns.
enum class Projection { kInto, kBack, kReduce };

// Adds "<name>.weight" [out, in] and, if `bias`, "<name>.bias" [out] = 0.
struct LinearShape {
  int64_t out, in;
  bool bias = false;
};
void declare_linear(const ModelConfig& model, Projection projection, const std::string& name,
                    LinearShape shape, ParameterTable& table);

// Deviation of the initial weights of a projection (spec/models.md 14).
double initial_deviation(const ModelConfig& model, Projection projection);

// A weight and its bias (undefined if it has none).
struct Linear {
  Tensor weight;  // [out, in]
  Tensor bias;    // [out]
  Linear() = default;
  Linear(const ParameterStore& store, const std::string& name);
  Tensor operator()(const Tensor& x) const;  // [..., in] -> [..., out]
};

// Several layers of one input as one matrix product: x [..., in] -> one [..., out_i] each (views).
std::vector<Tensor> joint_linear(const Tensor& x, std::initializer_list<const Linear*> layers);

}  // namespace weft
