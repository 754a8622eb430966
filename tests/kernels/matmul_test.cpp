// Products of matrices in blocks, against fp64.
#include "models/kernels/matmul.h"

#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <gtest/gtest.h>

#include "base/profile.h"
#include "tests/kernels/isas.h"
#include "tests/kernels/step_types.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

// [rows, columns] with dense rows, or with dense columns.
Tensor matrix(int64_t rows, int64_t columns, double phi, bool by_columns) {
  const Tensor m = fill({rows, columns}, phi).to(at::kFloat);
  return by_columns ? m.t().contiguous().t() : m;
}

// What k roundings can come to in sums whose terms' absolute values add up to `terms` (Higham,
// Accuracy and Stability of Numerical Algorithms, 3.1).
double roundings(int64_t k, double terms) { return 0x1p-24 * static_cast<double>(k + 1) * terms; }

void expect_near(const Tensor& got, const Tensor& expected, double tolerance,
                 const std::string& what) {
  EXPECT_LE((got.to(at::kDouble) - expected).abs().max().item<double>(), tolerance) << what;
}

double terms_of(const Tensor& a, const Tensor& b) {
  return at::mm(a.to(at::kDouble).abs(), b.to(at::kDouble).abs()).max().item<double>();
}

class BlockTypes : public testing::TestWithParam<at::ScalarType> {};

TEST_P(BlockTypes, GiveTheProductForAllSizesAndStrides) {
  const at::ScalarType type = GetParam();
  if (!has_matmul(type)) GTEST_SKIP() << "this processor has no products of blocks";
  const int64_t sizes[][3] = {{1, 1, 1},       {128, 128, 256}, {128, 128, 512}, {33, 70, 1},
                              {33, 70, 3},     {129, 31, 257},  {129, 31, 513},  {300, 520, 40},
                              {64, 1100, 600}, {700, 96, 290}};
  for (const auto& [m, n, k] : sizes) {
    for (const int strides : {0, 1, 2, 3}) {
      const Tensor a = matrix(m, k, 1, strides % 2 == 1).to(type);
      const Tensor b = matrix(k, n, 2, strides / 2 == 1).to(type);
      const Tensor bias = fill({n}, 3).to(type);
      const Tensor product = at::mm(a.to(at::kDouble), b.to(at::kDouble));
      const double terms = terms_of(a, b);
      for (const cpu::Isa isa : supported_isas()) {
        const std::string what = std::to_string(m) + " x " + std::to_string(n) + " x " +
                                 std::to_string(k) + ", strides " + std::to_string(strides) +
                                 ", isa " + std::to_string(static_cast<int>(isa));
        Tensor c = at::full({m, n}, 7.0F);
        multiply_blocks_into(c, a, b, Into::kResult, {}, isa);
        expect_near(c, product, roundings(k, terms), what);
        multiply_blocks_into(c, a, b, Into::kSum, {}, isa);
        expect_near(c, 2 * product, roundings(k, 2 * terms), what + ", added");
        multiply_blocks_into(c, a, b, Into::kResult, bias, isa);
        expect_near(c, product + bias, roundings(k + 1, terms + 1), what + ", with a bias");
        multiply_blocks_into(c, a, b, Into::kSum, {}, isa);
        expect_near(c, 2 * product + bias, roundings(k + 1, 2 * terms + 1), what + ", both");
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Both, BlockTypes, testing::Values(at::kFloat, at::kBFloat16));

TEST(MultiplyBlocksInto, LeavesWhatIsBesideTheResultAlone) {
  if (!has_matmul(at::kFloat)) GTEST_SKIP() << "this processor has no products of blocks";
  Tensor whole = at::full({70, 100}, 7.0F), part = whole.narrow(0, 1, 65).narrow(1, 3, 90);
  const Tensor a = matrix(65, 50, 1, false), b = matrix(50, 90, 2, true);
  multiply_blocks_into(part, a, b, Into::kResult, {}, cpu::best_isa());
  expect_near(part, at::mm(a.to(at::kDouble), b.to(at::kDouble)), roundings(50, terms_of(a, b)),
              "part");
  part.fill_(7);
  EXPECT_TRUE(whole.eq(7).all().item<bool>());
}

TEST(MultiplyBlocksInto, SumsNothingToZero) {
  if (!has_matmul(at::kFloat)) GTEST_SKIP() << "this processor has no products of blocks";
  Tensor c = at::full({3, 4}, 7.0F);
  multiply_blocks_into(c, at::empty({3, 0}, at::kFloat), at::empty({0, 4}, at::kFloat), Into::kSum,
                       {}, cpu::best_isa());
  EXPECT_TRUE(c.eq(7).all().item<bool>());
  multiply_blocks_into(c, at::empty({3, 0}, at::kFloat), at::empty({0, 4}, at::kFloat),
                       Into::kResult, {}, cpu::best_isa());
  EXPECT_TRUE(c.eq(0).all().item<bool>());
}

// Parts of wider matrices, and numbers that stand for many.
TEST(MultiplyBlocksInto, TakesAnyStrides) {
  if (!has_matmul(at::kFloat)) GTEST_SKIP() << "this processor has no products of blocks";
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    if (!has_matmul(type)) continue;
    const Tensor wide = matrix(128, 200, 1, false).to(type);
    const Tensor one = matrix(1, 64, 2, false).to(type), column = one.t();
    const Tensor lefts[] = {wide.narrow(1, 5, 64), wide.t().narrow(0, 3, 96).narrow(1, 0, 64),
                            one.expand({96, 64}), column.expand({64, 64}), one};
    const Tensor rights[] = {wide.narrow(0, 0, 64).narrow(1, 7, 96), wide.t().narrow(0, 9, 64),
                             column.expand({64, 33}), one.expand({64, 64}), column};
    for (const Tensor& a : lefts) {
      for (const Tensor& b : rights) {
        Tensor c = at::full({a.size(0), b.size(1)}, 7.0F);
        multiply_blocks_into(c, a, b, Into::kResult, {}, cpu::best_isa());
        expect_near(c, at::mm(a.to(at::kDouble), b.to(at::kDouble)), roundings(64, terms_of(a, b)),
                    "strides");
      }
    }
  }
}

TEST(MultiplyBlocksInto, IsTheSameForAnyNumberOfThreads) {
  if (!has_matmul(at::kFloat)) GTEST_SKIP() << "this processor has no products of blocks";
  const Tensor a = matrix(600, 300, 1, true), b = matrix(300, 200, 2, false);
  std::vector<Tensor> all;
  for_thread_counts([&](int) {
    all.push_back(at::empty({600, 200}, at::kFloat));
    multiply_blocks_into(all.back(), a, b, Into::kResult, {}, cpu::best_isa());
  });
  for (const Tensor& c : all) EXPECT_TRUE(c.equal(all[0]));
}

// Of all types and sizes, whichever way they take.
TEST(MultiplyInto, EqualsTheProduct) {
  for (const int64_t m : {3, 100}) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
      const Tensor a = matrix(m, 150, 1, true).to(type), b = matrix(150, 160, 2, false).to(type);
      const Tensor product = at::mm(a.to(at::kDouble), b.to(at::kDouble));
      const double terms = terms_of(a, b);
      for (const bool wide : {false, true}) {
        Tensor out = at::full({m, 160}, 7, a.options());
        if (wide && type == at::kBFloat16) out = out.to(at::kFloat);
        const double rounding = out.scalar_type() == at::kBFloat16 ? 0x1p-8 : 0;
        const double tolerance = roundings(150, terms) + rounding * terms;
        multiply_into(out, a, b);
        expect_near(out, product, tolerance, "product");
        multiply_into(out, a, b, Into::kSum);
        expect_near(out, 2 * product, 2 * tolerance, "added");
      }
    }
  }
}

TEST(LinearProduct, EqualsLinearAndItsGradients) {
  const auto run = [](at::ScalarType type, int64_t rows, bool bias, const auto& f) {
    const auto leaf = [&](std::vector<int64_t> sizes, double phi) {
      return fill(std::move(sizes), phi).to(type).set_requires_grad(true);
    };
    std::vector<Tensor> leaves = {leaf({2, rows, 130}, 1), leaf({150, 130}, 2)};
    if (bias) leaves.push_back(leaf({150}, 3));
    const Tensor y = f(leaves[0], leaves[1], bias ? leaves[2] : Tensor{});
    y.backward(fill({2, rows, 150}, 4).to(type));
    std::vector<Tensor> results = {y.detach()};
    for (const Tensor& t : leaves) results.push_back(t.grad());
    return results;
  };
  const auto peer = [](const Tensor& x, const Tensor& w, const Tensor& b) {
    return b.defined() ? at::linear(x, w, b) : at::linear(x, w);
  };
  for (const int64_t rows : {1, 100}) {
    for (const bool bias : {false, true}) {
      const auto ours = [](const Tensor& x, const Tensor& w, const Tensor& b) {
        return linear_product(x, w, b);
      };
      const std::vector<Tensor> got = run(at::kFloat, rows, bias, ours);
      const std::vector<Tensor> expected = run(at::kDouble, rows, bias, peer);
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].sizes(), expected[i].sizes());
        expect_near(got[i], expected[i], roundings(200, 200), "tensor " + std::to_string(i));
      }
      const std::vector<Tensor> bf16 = run(at::kBFloat16, rows, bias, ours);
      const std::vector<Tensor> same = run(at::kBFloat16, rows, bias, peer);
      for (size_t i = 0; i < bf16.size(); ++i) EXPECT_TRUE(bf16[i].equal(same[i])) << i;
    }
  }
}

// With sums, over two backward passes: the gradients of x are the same, those of weight and bias
// are added up without rounding to bf16 between.
TEST(LinearProduct, AddsGradientsToSums) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const int64_t rows : {1, 100}) {
      for (const bool has_bias : {false, true}) {
        const at::ScalarType wide = type == at::kBFloat16 ? at::kFloat : type;
        const auto leaf = [&](std::vector<int64_t> sizes, double phi) {
          return fill(std::move(sizes), phi).to(type).set_requires_grad(true);
        };
        const Tensor x = leaf({2, rows, 130}, 1), w = leaf({150, 130}, 2);
        const Tensor bias = has_bias ? leaf({150}, 3) : Tensor{};
        const LinearSums sums{at::zeros({150, 130}, wide),
                              has_bias ? at::zeros({150}, wide) : Tensor{}};
        const Tensor dy = fill({2, rows, 150}, 4).to(type);
        const Tensor y = linear_product(x, w, bias, sums);
        y.backward(dy);
        linear_product(x, w, bias, sums).backward(dy);
        EXPECT_FALSE(w.grad().defined() || (has_bias && bias.grad().defined()));
        const Tensor flat = dy.reshape({-1, 150}).to(at::kDouble);
        const Tensor dweight = flat.t().mm(x.detach().reshape({-1, 130}).to(at::kDouble)) * 2;
        const double steps = type == at::kDouble ? 0x1p-29 : 1;  // of fp32's
        expect_near(sums.weight, dweight, steps * roundings(400, 200), "weight");
        if (has_bias) expect_near(sums.bias, flat.sum(0) * 2, steps * roundings(400, 200), "bias");
        const Tensor same = linear_product(x.detach().set_requires_grad(true), w, bias);
        EXPECT_TRUE(y.equal(same));
      }
    }
  }
}

TEST(LinearProductDeathTest, TakesSumsOfItsShapesAlone) {
  const Tensor x = fill({3, 4}, 1), w = fill({5, 4}, 2), bias = fill({5}, 3);
  EXPECT_DEATH(linear_product(x, w, {}, {fill({4, 5}, 1), {}}), "sums of other shapes");
  EXPECT_DEATH(linear_product(x, w, bias, {fill({5, 4}, 1), {}}), "sums of other shapes");
  EXPECT_DEATH(linear_product(x, w, bias, {fill({5, 4}, 1), fill({1, 5}, 1)}), "of other shapes");
  EXPECT_DEATH(linear_product(x, w, {}, {fill({5, 4}, 1).to(at::kFloat), {}}), "or types");
}

// Of the output, and of those gradients that somebody wants.
TEST(LinearProduct, MakesNoProductsThatNobodyWants) {
  const auto products = [](bool x_wanted, bool weight_wanted, bool bias_wanted,
                           Values values = Values::kWanted) {
    const Tensor x = fill({200, 100}, 1).to(at::kFloat).set_requires_grad(x_wanted);
    const Tensor w = fill({150, 100}, 2).to(at::kFloat).set_requires_grad(weight_wanted);
    const Tensor bias = fill({150}, 3).to(at::kFloat).set_requires_grad(bias_wanted);
    Profile profile;
    profile.start();
    linear_product(x, w, bias, {}, values).sum().backward();
    profile.stop();
    EXPECT_EQ(x.grad().defined(), x_wanted);
    EXPECT_EQ(w.grad().defined(), weight_wanted);
    EXPECT_EQ(bias.grad().defined(), bias_wanted);
    const double flops = profile.sums()[static_cast<size_t>(WorkKind::kProduct)].work.flops;
    return flops / (2.0 * 200 * 100 * 150);
  };
  EXPECT_EQ(products(true, true, true), 3);
  EXPECT_EQ(products(true, false, false), 2);
  EXPECT_EQ(products(false, true, false), 2);
  EXPECT_EQ(products(false, false, true), 1);
  EXPECT_EQ(products(true, true, true, Values::kUnused), 2);
  EXPECT_EQ(products(false, false, true, Values::kUnused), 0);
}

TEST(LinearProduct, HasItsGradientsWhereItsValuesAreUnused) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const int64_t rows : {0, 3, 70}) {
      const auto gradients = [&](Values values) {
        const Tensor x = fill({2, rows, 40}, 1).to(type).set_requires_grad(true);
        const Tensor w = fill({50, 40}, 2).to(type).set_requires_grad(true);
        const Tensor bias = fill({50}, 3).to(type).set_requires_grad(true);
        const at::ScalarType wide = type == at::kDouble ? type : at::kFloat;
        const LinearSums sums{at::zeros({50, 40}, wide), at::zeros({50}, wide)};
        const Tensor y = linear_product(x, w, bias, sums, values);
        EXPECT_EQ(y.sizes(), at::IntArrayRef({2, rows, 50}));
        EXPECT_EQ(y.scalar_type(), type);
        y.backward(fill({2, rows, 50}, 4).to(type));
        return std::vector<Tensor>{x.grad(), sums.weight, sums.bias};
      };
      const std::vector<Tensor> wanted = gradients(Values::kWanted);
      const std::vector<Tensor> unused = gradients(Values::kUnused);
      for (size_t i = 0; i < wanted.size(); ++i) EXPECT_TRUE(unused[i].equal(wanted[i])) << i;
    }
  }
}

TEST(LinearProduct, TakesAGradientThatIsOneNumber) {
  const auto gradients = [](bool dense) {
    const Tensor x = fill({192, 96}, 1).to(at::kFloat).set_requires_grad(true);
    const Tensor w = fill({160, 96}, 2).to(at::kFloat).set_requires_grad(true);
    const Tensor y = linear_product(x, w);
    y.backward(dense ? at::full(y.sizes(), 1.0F) : at::full({1, 1}, 1.0F).expand(y.sizes()));
    return std::vector<Tensor>{x.grad(), w.grad()};
  };
  const std::vector<Tensor> one = gradients(false), many = gradients(true);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(many[i])) << i;
}

TEST(MultiplyIntoDeathTest, RefusesOtherShapesAndTypes) {
  const Tensor a = at::empty({3, 4}, at::kFloat), b = at::empty({4, 4}, at::kFloat);
  Tensor wrong = at::empty({3, 5}, at::kFloat), narrow = at::empty({3, 4}, at::kBFloat16);
  EXPECT_DEATH(multiply_into(wrong, a, b), "into \\[3, 5\\]");
  EXPECT_DEATH(multiply_into(narrow, a, b), "into CPUBFloat16Type");
}

TEST(MultiplyBlocksIntoDeathTest, RefusesWhatItCannotDo) {
  if (!has_matmul(at::kFloat)) GTEST_SKIP() << "this processor has no products of blocks";
  Tensor c = at::empty({3, 4}, at::kFloat);
  const Tensor a = at::empty({3, 5}, at::kFloat), b = at::empty({5, 4}, at::kFloat);
  const cpu::Isa isa = cpu::best_isa();
  EXPECT_DEATH(multiply_blocks_into(c, a, a, Into::kResult, {}, isa),
               "a product of \\[3, 5\\] and \\[3, 5\\]");
  EXPECT_DEATH(multiply_blocks_into(c, a.to(at::kDouble), b, Into::kResult, {}, isa),
               "a product of CPUDoubleType and CPUFloatType");
  EXPECT_DEATH(multiply_blocks_into(c, a, b, Into::kResult, at::empty({3}, at::kFloat), isa),
               "a bias of");
}

}  // namespace
}  // namespace weft
