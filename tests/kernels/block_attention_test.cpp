// Block attention against its definition in fp64, with and without gradients.
#include "models/kernels/block_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/kernels/attention_case.h"
#include "tests/kernels/isas.h"
#include "tests/kernels/step_types.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr const char* kNames[] = {"y", "dq", "dk", "dv"};

struct Results {
  std::vector<Tensor> tensors;  // kNames
};

template <class Function>
Results run(const AttentionInputs& in, const Function& attention) {
  std::vector<Tensor> leaves;
  for (const Tensor& t : {in.q, in.k, in.v}) {
    leaves.push_back(t.detach().clone().set_requires_grad(true));
  }
  const Tensor y = attention(leaves[0], leaves[1], leaves[2]);
  y.backward(in.dy);
  return {{y.detach(), leaves[0].grad(), leaves[1].grad(), leaves[2].grad()}};
}

// Norm of the difference over that of the reference; where that is all but 0, over 0.1 a number.
double relative(const Tensor& a, const Tensor& b) {
  const double least = 0.1 * std::sqrt(static_cast<double>(b.numel()));
  return (a.to(at::kDouble) - b).norm().item<double>() / std::max(b.norm().item<double>(), least);
}

const std::vector<AttentionCase>& cases() {
  static const std::vector<AttentionCase> all = {
      {.documents = {{1}}},
      {.documents = {{31}}},
      {.heads = 2, .kv_heads = 2, .width = 64, .documents = {{128}, {128}}},
      {.heads = 2, .kv_heads = 1, .width = 80, .documents = {{129}}},
      {.heads = 4, .kv_heads = 2, .width = 32, .documents = {{5, 130, 1, 164}, {300}}},
      {.heads = 3, .kv_heads = 1, .width = 128, .documents = {{257, 2}}},
      {.width = 2, .documents = {{40}}},
      {.width = 34, .documents = {{161}}},
      {.window = 1, .documents = {{140}}},
      {.heads = 2, .window = 5, .documents = {{290, 3}}},
      {.window = 128, .documents = {{400}}},
      {.window = 129, .documents = {{400}}},
      {.window = 1000, .documents = {{200}}},
  };
  return all;
}

void expect_definition(const AttentionCase& c, at::ScalarType type, double y_tolerance,
                       double gradient_tolerance) {
  AttentionInputs in = inputs_of(c, type);
  AttentionInputs wide = in;
  for (Tensor* t : {&wide.q, &wide.k, &wide.v, &wide.dy}) *t = t->to(at::kDouble);
  const Results expected = run(wide, [&](const Tensor& q, const Tensor& k, const Tensor& v) {
    return plain_attention(q, k, v, c);
  });
  for (const cpu::Isa isa : supported_isas()) {
    const Results got = run(in, [&](const Tensor& q, const Tensor& k, const Tensor& v) {
      return block_attention(q, k, v, segments_of(c), c.window, isa);
    });
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_LE(relative(got.tensors[i], expected.tensors[i]),
                i == 0 ? y_tolerance : gradient_tolerance)
          << kNames[i] << " of " << in.q.sizes() << ", isa " << static_cast<int>(isa) << ", window "
          << c.window;
    }
  }
}

// Where the units are missing nothing calls the kernel.
bool available(at::ScalarType type) {
  return has_block_attention(at::empty({1, 1, 1, 2}, at::TensorOptions(type)));
}

TEST(BlockAttention, EqualsItsDefinitionInFp32) {
  if (!available(at::kFloat)) GTEST_SKIP() << "this processor has no products of blocks";
  for (const AttentionCase& c : cases()) expect_definition(c, at::kFloat, 1e-6, 5e-6);
  expect_definition({.width = 33, .documents = {{70, 70}}}, at::kFloat, 1e-6, 5e-6);
  expect_definition({.width = 1, .documents = {{70}}}, at::kFloat, 1e-6, 5e-6);
}

// AttentionInputs are exact; weights and scores' gradients are rounded to 8 bits before products,
// and the results.
TEST(BlockAttention, EqualsItsDefinitionInBf16) {
  if (!available(at::kBFloat16)) GTEST_SKIP() << "this processor has no products of blocks";
  for (const AttentionCase& c : cases()) expect_definition(c, at::kBFloat16, 4e-3, 1e-2);
}

TEST(BlockAttention, IsTheSameForAnyNumberOfThreads) {
  const AttentionCase c{.heads = 4, .kv_heads = 2, .width = 64, .documents = {{200, 140}, {340}}};
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    if (!available(type)) continue;
    const AttentionInputs in = inputs_of(c, type);
    std::vector<Results> all;
    for_thread_counts([&](int) {
      all.push_back(run(in, [&](const Tensor& q, const Tensor& k, const Tensor& v) {
        return block_attention(q, k, v, segments_of(c));
      }));
    });
    for (const Results& other : all) {
      for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(other.tensors[i].equal(all[0].tensors[i])) << i;
    }
  }
}

// As a joint projection leaves them, or with channels apart, or with tokens an odd number of them
// apart; and a gradient that is one number everywhere.
TEST(BlockAttention, TakesStridedHeads) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    if (!available(type)) GTEST_SKIP() << "this processor has no products of blocks";
    const auto with = [&](bool dense) {
      std::vector<Tensor> leaves;
      for (int i = 0; i < 6; ++i) {
        leaves.push_back(fill({2, 150, 4, 33}, i).to(type).set_requires_grad(true));
      }
      const auto heads = [&](const Tensor& t) { return dense ? t.contiguous() : t; };
      const auto even = [&](size_t leaf) { return leaves[leaf].narrow(3, 0, 32); };
      const std::vector<Segment> documents = {{0, 0, 150}, {1, 0, 150}};
      const Tensor y =
          block_attention(heads(even(0).narrow(2, 0, 2)), heads(even(1).narrow(2, 2, 1)),
                          heads(even(2).narrow(2, 3, 1)), documents);
      const Tensor turned =
          block_attention(heads(even(3).transpose(2, 3).contiguous().transpose(2, 3)),
                          heads(even(4)), heads(even(5)), documents);
      (y.sum() + turned.sum()).backward();
      std::vector<Tensor> results = {y.detach(), turned.detach()};
      for (const Tensor& leaf : leaves) results.push_back(leaf.grad());
      return results;
    };
    const std::vector<Tensor> strided = with(false), dense = with(true);
    for (size_t i = 0; i < strided.size(); ++i) EXPECT_TRUE(strided[i].equal(dense[i])) << i;
  }
}

TEST(BlockAttention, LetsNotNumbersThrough) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    if (!available(type)) continue;
    const AttentionCase c{.documents = {{140, 20}}};
    AttentionInputs in = inputs_of(c, type);
    in.k[0][3].fill_(std::numeric_limits<float>::quiet_NaN());
    const Tensor nan = block_attention(in.q, in.k, in.v, segments_of(c)).isnan();
    EXPECT_TRUE(nan[0].narrow(0, 3, 137).all().item<bool>());
    EXPECT_FALSE(nan[0].narrow(0, 0, 3).any().item<bool>());
    EXPECT_FALSE(nan[0].narrow(0, 140, 20).any().item<bool>());
  }
}

// No score is so low that one of the future counts instead.
TEST(BlockAttention, HoldsForTheLowestScores) {
  if (!available(at::kFloat)) GTEST_SKIP() << "this processor has no products of blocks";
  const auto heads = [](float first, float second) {
    return at::tensor({first, second}, at::kFloat).view({1, 2, 1, 1});
  };
  const std::vector<Segment> documents = {{0, 0, 2}};
  const Tensor v = heads(5, 7);
  for (const float low : {-1e16F, -1e18F}) {
    const Tensor y = block_attention(heads(1e16F, 0), heads(low, 1), v, documents);
    EXPECT_EQ(y[0][0].item<float>(), 5);
    EXPECT_EQ(y[0][1].item<float>(), 6);
  }
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(block_attention(heads(kInfinity, 0), heads(-1, 1), v, documents)[0][0]
                  .isnan()
                  .all()
                  .item<bool>());
}

// A gradient that is not a number stays with the query that it is of.
TEST(BlockAttention, KeepsGradientsOfQueriesApart) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    if (!available(type)) GTEST_SKIP() << "this processor has no products of blocks";
    const AttentionCase c{.documents = {{140, 20}}};
    AttentionInputs in = inputs_of(c, type);
    in.dy[0][100].fill_(std::numeric_limits<float>::quiet_NaN());
    const Results got = run(in, [&](const Tensor& q, const Tensor& k, const Tensor& v) {
      return block_attention(q, k, v, segments_of(c));
    });
    const Tensor of_queries = got.tensors[1][0].isnan().flatten(1).any(1);  // [T]
    EXPECT_EQ(of_queries.sum().item<int64_t>(), 1);
    EXPECT_TRUE(of_queries[100].item<bool>());
  }
}

TEST(BlockAttention, HoldsForLargeScores) {
  if (!available(at::kFloat)) GTEST_SKIP() << "this processor has no products of blocks";
  const AttentionCase c{.documents = {{200}}};
  AttentionInputs in = inputs_of(c, at::kFloat);
  in.q = in.q * 1000;
  const Tensor y = block_attention(in.q, in.k, in.v, segments_of(c));
  const Tensor expected =
      plain_attention(in.q.to(at::kDouble), in.k.to(at::kDouble), in.v.to(at::kDouble), c);
  EXPECT_LE(relative(y, expected), 2e-3);  // scores of some 1e4 have 3 decimals in fp32
}

TEST(BlockAttention, HasNoTokens) {
  if (!available(at::kFloat)) GTEST_SKIP() << "this processor has no products of blocks";
  const Tensor q = at::empty({2, 0, 2, 8}, at::kFloat).set_requires_grad(true);
  const Tensor y = block_attention(q, q, q, {});
  EXPECT_EQ(y.sizes(), q.sizes());
  y.sum().backward();
  EXPECT_EQ(q.grad().sizes(), q.sizes());
}

TEST(BlockAttentionDeathTest, RefusesWhatItCannotDo) {
  if (!available(at::kFloat)) GTEST_SKIP() << "this processor has no products of blocks";
  const Tensor q = at::empty({1, 4, 3, 8}, at::kFloat), k = at::empty({1, 4, 2, 8}, at::kFloat);
  const std::vector<Segment> all = {{0, 0, 4}};
  EXPECT_DEATH(block_attention(q, k, k, all), "block_attention of q \\[1, 4, 3, 8\\]");
  EXPECT_DEATH(block_attention(q, q, q, std::vector<Segment>{{0, 0, 3}}), "documents of 3 tokens");
  const std::vector<Segment> twice = {{0, 0, 3}, {0, 0, 1}};
  EXPECT_DEATH(block_attention(q, q, q, twice), "tokens \\[0, 1\\) of row 0 do not follow");
  EXPECT_DEATH(block_attention(q, q, q, std::vector<Segment>{{0, 0, 5}}), "no tokens \\[0, 5\\)");
  EXPECT_DEATH(block_attention(q, q, q, all, -1), "a window of -1");
  EXPECT_DEATH(block_attention(q.to(at::kDouble), q, q, all), "on this machine");
  const Tensor leaf = q.clone().set_requires_grad(true);
  const Tensor y = block_attention(leaf, q, q, all);
  EXPECT_DEATH(y.backward(at::empty(y.sizes(), at::kFloat), std::nullopt, /*create_graph=*/true),
               "at most once");
}

}  // namespace
}  // namespace weft
