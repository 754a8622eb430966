#include "models/kernels/row_linear.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>

#include "base/check.h"
#include "models/kernels/cpu/row_linear.h"
#include "models/kernels/dispatch.h"

namespace weft {
namespace {

void check_operand(const char* name, const Tensor& t, const Tensor& x) {
  WEFT_CHECK(t.is_cpu() && t.scalar_type() == x.scalar_type(), "row_linear: ", name, " is ",
             t.toString(), " on ", t.device(), ", x is ", x.toString());
  WEFT_CHECK(!t.requires_grad() || !at::GradMode::is_enabled(), "row_linear has no gradient, but ",
             name, " needs one");
}

void check_layer(const RowLinearLayer& layer, const Tensor& x) {
  const Tensor &weight = layer.weight, &bias = layer.bias;
  WEFT_CHECK(weight.dim() == 2 && weight.size(1) == x.size(-1), "row_linear of x ", x.sizes(),
             " with a weight of ", weight.sizes());
  WEFT_CHECK(weight.size(1) <= 1 || weight.stride(1) == 1,
             "row_linear: the rows of the weight have gaps");
  check_operand("the weight", weight, x);
  if (!bias.defined()) return;
  WEFT_CHECK(bias.dim() == 1 && bias.size(0) == weight.size(0), "row_linear: a bias of ",
             bias.sizes(), " with a weight of ", weight.sizes());
  check_operand("the bias", bias, x);
}

// x with dense rows that all have one distance.
template <class S>
cpu::LinearInput<S> raw_input(const Tensor& x) {
  const int64_t in = x.size(-1), rows = c10::multiply_integers(x.sizes().slice(0, x.dim() - 1));
  return {values<S>(x), rows, in, x.dim() == 2 ? x.stride(0) : in};
}

template <class S>
void run(const Tensor& x, std::span<const RowLinearLayer> layers, const std::vector<Tensor>& y,
         cpu::Isa isa) {
  std::vector<cpu::LinearRows<S>> raw;
  std::vector<Tensor> biases;  // dense copies live as long as the pointers to them
  for (size_t i = 0; i < layers.size(); ++i) {
    const Tensor &weight = layers[i].weight, &bias = layers[i].bias;
    if (bias.defined()) biases.push_back(bias.contiguous());
    raw.push_back({.out = weight.size(0),
                   .weight = values<S>(weight),
                   .weight_stride = weight.stride(0),
                   .bias = bias.defined() ? values<S>(biases.back()) : nullptr,
                   .y = values<S>(y[i])});
  }
  cpu::row_linear<S>(raw_input<S>(x), {raw.data(), static_cast<int64_t>(raw.size())}, isa);
}

}  // namespace

std::vector<Tensor> row_linear(const Tensor& x_in, std::span<const RowLinearLayer> layers,
                               cpu::Isa isa) {
  const at::ScalarType type = x_in.scalar_type();
  WEFT_CHECK(is_storage(type), "row_linear is for fp32, fp64 and bf16");
  WEFT_CHECK(x_in.dim() >= 2, "row_linear: x is ", x_in.sizes(), ", expected [.., n, in]");
  check_operand("x", x_in, x_in);
  std::vector<int64_t> shape = x_in.sizes().vec();
  std::vector<Tensor> y;
  for (const RowLinearLayer& layer : layers) {
    check_layer(layer, x_in);
    shape.back() = layer.weight.size(0);
    y.push_back(at::empty(shape, x_in.options()));
  }
  const bool dense_rows = x_in.dim() == 2 && (x_in.size(1) <= 1 || x_in.stride(1) == 1);
  const Tensor x = dense_rows ? x_in : x_in.contiguous();
  with_storage(x, [&](auto storage) { run<decltype(storage)>(x, layers, y, isa); });
  return y;
}

Tensor row_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, cpu::Isa isa) {
  const RowLinearLayer layer = {weight, bias};
  return row_linear(x, {&layer, 1}, isa)[0];
}

}  // namespace weft
