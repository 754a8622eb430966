// The gradients of pointwise kernels and norms against central differences, in fp64.
#include <functional>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "models/kernels/gelu.h"
#include "models/kernels/layer_norm.h"
#include "models/kernels/rms_norm.h"
#include "models/kernels/rotate.h"
#include "models/kernels/silu_mul.h"
#include "tests/support/fill.h"
#include "tests/support/gradient_check.h"

namespace weft {
namespace {

struct Differentiated {
  std::string name;
  std::vector<std::vector<int64_t>> inputs;  // sizes
  std::function<Tensor(const std::vector<Tensor>&)> loss;
};
void PrintTo(const Differentiated& d, std::ostream* out) { *out << d.name; }

// cos and sin of x [Bz, T, H, e] that belong to no angles.
Tensor factors(const Tensor& x, double phase) {
  return fill({x.size(0), x.size(1), 1, x.size(3)}, phase);
}

std::vector<Differentiated> all() {
  using In = const std::vector<Tensor>&;
  const std::vector<int64_t> heads = {2, 3, 2, 6};
  return {{"gelu", {{3, 19}}, [](In in) { return closed_form_loss(gelu_tanh(in[0])); }},
          {"silu_mul",
           {{3, 19}, {3, 19}},
           [](In in) { return closed_form_loss(silu_mul(in[0], in[1])); }},
          {"gate_up", {{3, 38}}, [](In in) { return closed_form_loss(silu_mul(in[0])); }},
          {"layer_norm",
           {{4, 19}, {19}, {19}},
           [](In in) { return closed_form_loss(layer_norm(in[0], in[1], in[2], 1e-3)); }},
          {"add_rms_norm",
           {{4, 19}, {4, 19}, {19}},
           [](In in) {
             const AddedNorm out = add_rms_norm(in[0], in[1], in[2], 1e-3);
             return closed_form_loss(out.sum) + closed_form_loss(out.normed.square());
           }},
          {"rotate",
           {heads},
           [](In in) {
             return closed_form_loss(rotate(in[0], factors(in[0], 0.3), factors(in[0], 1.7)));
           }},
          {"norm_rotate", {heads, {6}}, [](In in) {
             return closed_form_loss(
                 norm_rotate(in[0], {in[1], 1e-3}, factors(in[0], 0.3), factors(in[0], 1.7)));
           }}};
}

class Differences : public testing::TestWithParam<Differentiated> {};

TEST_P(Differences, AreTheGradients) {
  std::vector<Tensor> in;
  for (const std::vector<int64_t>& sizes : GetParam().inputs) {
    in.push_back(fill(sizes, 1.0 + static_cast<double>(in.size())).set_requires_grad(true));
  }
  GetParam().loss(in).backward();
  for (size_t i = 0; i < in.size(); ++i) {
    const auto value = [&] { return GetParam().loss(in).item<double>(); };
    expect_gradient("input " + std::to_string(i), value, in[i].detach(), in[i].grad());
  }
}

using DifferencesDeathTest = Differences;

TEST_P(DifferencesDeathTest, AreNotTakenTwice) {
  std::vector<Tensor> in;
  for (const std::vector<int64_t>& sizes : GetParam().inputs) {
    in.push_back(fill(sizes, 1.0 + static_cast<double>(in.size())).set_requires_grad(true));
  }
  const Tensor loss = GetParam().loss(in);
  EXPECT_DEATH(torch::autograd::grad({loss}, in, {}, true, /*create_graph=*/true),
               "is differentiated at most once");
}

INSTANTIATE_TEST_SUITE_P(All, Differences, testing::ValuesIn(all()),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(All, DifferencesDeathTest, testing::ValuesIn(all()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace weft
