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

// `terms`: what the absolute values of the terms of the largest sum add up to.
void expect_near(const Tensor& got, const Tensor& expected, double terms, const std::string& what) {
  EXPECT_LE((got.to(at::kDouble) - expected).abs().max().item<double>(), 2e-7 * terms) << what;
}

double terms_of(const Tensor& a, const Tensor& b) {
  return at::mm(a.to(at::kDouble).abs(), b.to(at::kDouble).abs()).max().item<double>();
}

TEST(MultiplyBlocksInto, EqualsTheProductForAllSizesAndStrides) {
  if (!has_matmul(at::kFloat)) return;
  const int64_t sizes[][3] = {{1, 1, 1},      {128, 128, 256}, {33, 70, 1},   {129, 31, 257},
                              {300, 520, 40}, {64, 1100, 600}, {700, 96, 290}};
  for (const auto& [m, n, k] : sizes) {
    for (const int strides : {0, 1, 2, 3}) {
      const Tensor a = matrix(m, k, 1, strides % 2 == 1), b = matrix(k, n, 2, strides / 2 == 1);
      const Tensor bias = fill({n}, 3).to(at::kFloat);
      const Tensor product = at::mm(a.to(at::kDouble), b.to(at::kDouble));
      const double terms = terms_of(a, b);
      for (const cpu::Isa isa : supported_isas()) {
        const std::string what = std::to_string(m) + " x " + std::to_string(n) + " x " +
                                 std::to_string(k) + ", strides " + std::to_string(strides) +
                                 ", isa " + std::to_string(static_cast<int>(isa));
        Tensor c = at::full({m, n}, 7.0F);
        multiply_blocks_into(c, a, b, /*add=*/false, {}, isa);
        expect_near(c, product, terms, what);
        multiply_blocks_into(c, a, b, /*add=*/true, {}, isa);
        expect_near(c, 2 * product, 2 * terms, what + ", added");
        multiply_blocks_into(c, a, b, /*add=*/false, bias, isa);
        expect_near(c, product + bias, terms + 1, what + ", with a bias");
      }
    }
  }
}

TEST(MultiplyBlocksInto, EqualsTheProductOfBf16Matrices) {
  if (!has_matmul(at::kBFloat16)) return;
  const int64_t sizes[][3] = {{1, 1, 2},      {128, 128, 512}, {33, 70, 2},   {129, 31, 514},
                              {300, 520, 40}, {64, 1100, 600}, {700, 96, 290}};
  for (const auto& [m, n, k] : sizes) {
    for (const int strides : {0, 1, 2, 3}) {
      const auto bf16 = [](const Tensor& t) { return t.to(at::kBFloat16); };
      const Tensor a = bf16(matrix(m, k, 1, strides % 2 == 1));
      const Tensor b = bf16(matrix(k, n, 2, strides / 2 == 1));
      const Tensor bias = bf16(fill({n}, 3).to(at::kFloat));
      const Tensor product = at::mm(a.to(at::kDouble), b.to(at::kDouble));
      const double terms = terms_of(a, b);
      for (const cpu::Isa isa : supported_isas()) {
        const std::string what = std::to_string(m) + " x " + std::to_string(n) + " x " +
                                 std::to_string(k) + ", strides " + std::to_string(strides) +
                                 ", isa " + std::to_string(static_cast<int>(isa));
        Tensor c = at::full({m, n}, 7.0F);
        multiply_blocks_into(c, a, b, /*add=*/false, bias, isa);
        expect_near(c, product + bias, terms + 1, what);
        multiply_blocks_into(c, a, b, /*add=*/true, {}, isa);
        expect_near(c, 2 * product + bias, 2 * terms + 1, what + ", added");
      }
    }
  }
}

TEST(MultiplyBlocksInto, LeavesWhatIsBesideTheResultAlone) {
  if (!has_matmul(at::kFloat)) return;
  Tensor whole = at::full({70, 100}, 7.0F), part = whole.narrow(0, 1, 65).narrow(1, 3, 90);
  const Tensor a = matrix(65, 50, 1, false), b = matrix(50, 90, 2, true);
  multiply_blocks_into(part, a, b, false, {}, cpu::best_isa());
  expect_near(part, at::mm(a.to(at::kDouble), b.to(at::kDouble)), terms_of(a, b), "part");
  part.fill_(7);
  EXPECT_TRUE(whole.eq(7).all().item<bool>());
}

TEST(MultiplyBlocksInto, SumsNothingToZero) {
  if (!has_matmul(at::kFloat)) return;
  Tensor c = at::full({3, 4}, 7.0F);
  multiply_blocks_into(c, at::empty({3, 0}, at::kFloat), at::empty({0, 4}, at::kFloat), true, {},
                       cpu::best_isa());
  EXPECT_TRUE(c.eq(7).all().item<bool>());
  multiply_blocks_into(c, at::empty({3, 0}, at::kFloat), at::empty({0, 4}, at::kFloat), false, {},
                       cpu::best_isa());
  EXPECT_TRUE(c.eq(0).all().item<bool>());
}

TEST(MultiplyInto, IsTheSameForAnyNumberOfThreads) {
  const Tensor a = matrix(600, 300, 1, true), b = matrix(300, 200, 2, false);
  std::vector<Tensor> all;
  for_thread_counts([&](int) {
    all.push_back(at::empty({600, 200}, at::kFloat));
    multiply_into(all.back(), a, b);
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
        const double roundings = type == at::kBFloat16 ? 2e4 : 1;  // of 8 bits against 24
        multiply_into(out, a, b);
        expect_near(out, product, roundings * terms, "product");
        multiply_into(out, a, b, /*add=*/true);
        expect_near(out, 2 * product, 2 * roundings * terms, "added");
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
      const std::vector<Tensor> got = run(at::kFloat, rows, bias, linear_product);
      const std::vector<Tensor> expected = run(at::kDouble, rows, bias, peer);
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].sizes(), expected[i].sizes());
        expect_near(got[i], expected[i], 200, "tensor " + std::to_string(i));
      }
      const std::vector<Tensor> bf16 = run(at::kBFloat16, rows, bias, linear_product);
      const std::vector<Tensor> same = run(at::kBFloat16, rows, bias, peer);
      for (size_t i = 0; i < bf16.size(); ++i) EXPECT_TRUE(bf16[i].equal(same[i])) << i;
    }
  }
}

TEST(LinearProduct, LeavesOutGradientsThatNobodyWants) {
  const Tensor x = fill({200, 100}, 1).to(at::kFloat), w = fill({150, 100}, 2).to(at::kFloat);
  const Tensor leaf = w.clone().set_requires_grad(true);
  linear_product(x, leaf).sum().backward();
  EXPECT_FALSE(x.grad().defined());
  expect_near(leaf.grad(), x.to(at::kDouble).sum(0).expand({150, 100}), 200, "dweight");
}

TEST(MultiplyBlocksIntoDeathTest, RefusesWhatItCannotDo) {
  if (!has_matmul(at::kFloat)) return;
  Tensor c = at::empty({3, 4}, at::kFloat);
  const Tensor a = at::empty({3, 5}, at::kFloat), b = at::empty({5, 4}, at::kFloat);
  const cpu::Isa isa = cpu::best_isa();
  EXPECT_DEATH(multiply_blocks_into(c, a, a, false, {}, isa), "of \\[3, 5\\] and \\[3, 5\\]");
  EXPECT_DEATH(multiply_blocks_into(c, a.to(at::kDouble), b, false, {}, isa),
               "multiply_blocks_into of CPUDoubleType");
  EXPECT_DEATH(multiply_blocks_into(c, a, b, false, at::empty({3}, at::kFloat), isa), "a bias of");
}

}  // namespace
}  // namespace weft
