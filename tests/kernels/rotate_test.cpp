#include "models/kernels/rotate.h"

#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sin.h>
#include <gtest/gtest.h>

#include "models/kernels/rms_norm.h"
#include "tests/kernels/isas.h"
#include "tests/kernels/step_types.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

struct Inputs {
  Tensor x, cos, sin, dy;
  Inputs to(at::ScalarType type) const {
    return {x.to(type), cos.to(type), sin.to(type), dy.to(type)};
  }
};

// cos and sin of unrelated angles, so that every channel has its own.
Inputs random_inputs(int64_t rows, int64_t length, int64_t heads, int64_t width) {
  const at::Generator random = at::detail::createCPUGenerator(5);
  const auto make = [&](int64_t some) {
    return at::randn({rows, length, some, width}, random, at::TensorOptions(at::kDouble));
  };
  return {make(heads), make(1).cos(), make(1).sin(), make(heads)};
}

template <class F>
std::vector<Tensor> with_gradient(const Inputs& in, const F& f) {
  const Tensor x = in.x.detach().clone().set_requires_grad(true);
  const Tensor y = f(x, in.cos, in.sin);
  y.backward(in.dy);
  return {y.detach(), x.grad()};
}

TEST(Rotate, IsAsExactAsPlainOperatorsAndSoIsItsGradient) {
  for (const int64_t width : {2, 6, 64, 80, 128, 130}) {
    for (const int64_t heads : {1, 3}) {
      const Inputs wide = random_inputs(2, 7, heads, width);
      for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
        const Inputs in = wide.to(type);
        const std::vector<Tensor> truth = with_gradient(in.to(at::kDouble), rotate_reference);
        const std::vector<Tensor> plain = with_gradient(in, rotate_reference);
        for (const cpu::Isa isa : supported_isas()) {
          const std::vector<Tensor> got =
              with_gradient(in, [&](const Tensor& x, const Tensor& cos, const Tensor& sin) {
                return rotate(x, cos, sin, isa);
              });
          for (size_t i = 0; i < got.size(); ++i) expect_as_exact(got[i], plain[i], truth[i]);
        }
      }
    }
  }
}

// y and the gradients of x and of the norm's weight [e].
template <class F>
std::vector<Tensor> with_norm_gradients(const Inputs& in, const F& f) {
  const Tensor x = in.x.detach().clone().set_requires_grad(true);
  const auto wide = in.x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor weight = fill({in.x.size(3)}, 2, 0.3, 1.0).to(at::kFloat).to(wide);
  weight.set_requires_grad(true);
  const Tensor y = f(x, RmsNormWeights{weight, 1e-5}, in.cos, in.sin);
  y.backward(in.dy);
  return {y.detach(), x.grad(), weight.grad()};
}

Tensor norm_rotate_plain(const Tensor& x, const RmsNormWeights& norm, const Tensor& cos,
                         const Tensor& sin) {
  return rotate_reference(rms_norm_reference(x, norm.weight, norm.eps), cos, sin);
}

TEST(NormRotate, IsAsExactAsPlainOperatorsAndSoAreItsGradients) {
  for (const int64_t width : {2, 6, 64, 80, 130}) {
    const Inputs wide = random_inputs(2, 70, 3, width);
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
      const Inputs in = wide.to(type);
      const auto truth = with_norm_gradients(in.to(at::kDouble), norm_rotate_plain);
      const auto plain = with_norm_gradients(in, norm_rotate_plain);
      for (const cpu::Isa isa : supported_isas()) {
        const auto got = with_norm_gradients(
            in, [&](const Tensor& x, const RmsNormWeights& norm, const Tensor& cos,
                    const Tensor& sin) { return norm_rotate(x, norm, cos, sin, isa); });
        for (size_t i = 0; i < got.size(); ++i) expect_as_exact(got[i], plain[i], truth[i]);
      }
    }
  }
}

TEST(NormRotate, TakesHeadsBesideOthersAndNoTokens) {
  const Inputs in = random_inputs(3, 50, 6, 32).to(at::kFloat);
  const RmsNormWeights norm{fill({32}, 2).to(at::kFloat), 1e-5};
  const Tensor part = in.x.narrow(2, 2, 3);
  const Tensor y = norm_rotate(part, norm, in.cos, in.sin);
  EXPECT_TRUE(y.equal(norm_rotate(part.contiguous(), norm, in.cos, in.sin)));
  const Inputs none = random_inputs(2, 0, 3, 32).to(at::kFloat);
  EXPECT_EQ(norm_rotate(none.x, norm, none.cos, none.sin).sizes(), none.x.sizes());
}

TEST(NormRotate, IsTheSameForAnyNumberOfThreads) {
  const Inputs in = random_inputs(2, 700, 4, 64).to(at::kFloat);
  std::vector<std::vector<Tensor>> all;
  for_thread_counts([&](int) {
    all.push_back(
        with_norm_gradients(in, [](const Tensor& x, const RmsNormWeights& norm, const Tensor& cos,
                                   const Tensor& sin) { return norm_rotate(x, norm, cos, sin); }));
  });
  for (const std::vector<Tensor>& results : all) {
    for (size_t i = 0; i < results.size(); ++i) EXPECT_TRUE(results[i].equal(all[0][i])) << i;
  }
}

// Heads beside others, as a joint projection leaves them; cosines that all rows share; a gradient
// that is one number.
TEST(Rotate, TakesAnyStrides) {
  const Inputs in = random_inputs(3, 50, 6, 32).to(at::kFloat);
  const Tensor cos = in.cos.narrow(0, 0, 1).expand({3, 50, 1, 32});
  const Tensor sin = in.sin.narrow(0, 0, 1).expand({3, 50, 1, 32});
  const Tensor part = in.x.narrow(2, 2, 3);
  const Tensor y = rotate(part, cos, sin);
  EXPECT_TRUE(y.equal(rotate(part.contiguous(), cos.contiguous(), sin.contiguous())));
  const Tensor turned = in.x.transpose(2, 3).contiguous().transpose(2, 3);
  EXPECT_TRUE(rotate(turned, cos, sin).equal(rotate(in.x, cos, sin)));
  const Tensor leaf = in.x.clone().set_requires_grad(true), same = leaf.detach().clone();
  same.set_requires_grad(true);
  rotate(leaf, cos, sin).sum().backward();
  rotate_reference(same, cos, sin).sum().backward();
  EXPECT_LE(max_difference(leaf.grad(), same.grad()), 1e-6);
}

TEST(Rotate, IsTheSameForAnyNumberOfThreads) {
  const Inputs in = random_inputs(2, 700, 4, 64).to(at::kFloat);
  std::vector<Tensor> all;
  for_thread_counts([&](int) { all.push_back(rotate(in.x, in.cos, in.sin)); });
  for (const Tensor& y : all) EXPECT_TRUE(y.equal(all[0]));
}

TEST(Rotate, HasNoTokens) {
  const Inputs in = random_inputs(2, 0, 3, 8);
  EXPECT_EQ(rotate(in.x, in.cos, in.sin).sizes(), in.x.sizes());
}

TEST(RotateDeathTest, RefusesWhatItCannotDo) {
  const Inputs in = random_inputs(2, 3, 2, 8);
  EXPECT_DEATH(rotate(in.x.narrow(3, 0, 7), in.cos, in.sin), "rotate of x \\[2, 3, 2, 7\\]");
  EXPECT_DEATH(rotate(in.x, in.x, in.x), "cos \\[2, 3, 2, 8\\]");
  EXPECT_DEATH(rotate(in.x.to(at::kFloat), in.cos, in.sin), "must be of x's type, Float");
  EXPECT_DEATH(norm_rotate(in.x, {fill({7}, 2), 1e-5}, in.cos, in.sin), "a weight of \\[7\\]");
}

}  // namespace
}  // namespace weft
