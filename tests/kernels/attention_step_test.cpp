#include "models/kernels/attention_step.h"

#include <cmath>
#include <ostream>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include "models/kernels/rms_norm.h"
#include "models/kernels/row_linear.h"
#include "tests/kernels/isas.h"
#include "tests/kernels/step_types.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

struct StepCase {
  int64_t heads, kv_heads, width, slots;
  std::vector<int64_t> lengths;
  bool rotates;
};

void PrintTo(const StepCase& c, std::ostream* out) {
  *out << c.heads << "/" << c.kv_heads << " heads of " << c.width << ", " << c.slots << " slots, "
       << c.lengths.size() << " rows from " << c.lengths[0] << (c.rotates ? ", rotated" : "");
}

// A random step, the same for the same case, whose lengths it refers to; slots that no token has
// filled are NaN.
AttentionStep random_step(const StepCase& c, at::ScalarType type) {
  const at::Generator random = at::detail::createCPUGenerator(5);
  const auto rows = static_cast<int64_t>(c.lengths.size());
  const auto normal = [&](std::vector<int64_t> sizes) {
    return at::randn(sizes, random, at::TensorOptions(at::kDouble)).to(type);
  };
  const auto cache = [&] {
    const Tensor t = normal({rows, c.kv_heads, c.slots, c.width});
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t used = std::min(c.lengths[row], c.slots);
      t[row].narrow(1, used, c.slots - used).fill_(NAN);
    }
    return t;
  };
  AttentionStep step{.q = normal({rows, 1, c.heads, c.width}),
                     .k = normal({rows, 1, c.kv_heads, c.width}),
                     .v = normal({rows, 1, c.kv_heads, c.width}),
                     .cos = {},
                     .sin = {},
                     .k_cache = cache(),
                     .v_cache = cache(),
                     .lengths = c.lengths};
  if (c.rotates) {
    const Tensor angle = at::rand({rows, 1, 1, c.width / 2}, random, at::kDouble) * 6;
    step.cos = at::cat({angle.cos(), angle.cos()}, -1).to(type);
    step.sin = at::cat({-angle.sin(), angle.sin()}, -1).to(type);
  }
  return step;
}

// With caches of its own, so that it can be done again.
AttentionStep copy_of(AttentionStep step) {
  step.k_cache = step.k_cache.clone();
  step.v_cache = step.v_cache.clone();
  return step;
}

// As a layer gets it, which makes q, k and v itself.
AttentionStep for_layer(const AttentionStep& step) {
  AttentionStep copy = copy_of(step);
  copy.q = copy.k = copy.v = Tensor();
  return copy;
}

Tensor turned(const Tensor& x, const AttentionStep& step) {
  if (!step.cos.defined()) return x;
  const std::vector<Tensor> halves = x.split(x.size(3) / 2, 3);
  return x * step.cos + at::cat({halves[1], halves[0]}, 3) * step.sin;
}

// The definition, row by row and head by head, in the type of the step; fills the caches too.
Tensor plain_step(const AttentionStep& step) {
  const Tensor q = turned(step.q, step), k = turned(step.k, step);
  const int64_t slots = step.k_cache.size(2), group = q.size(2) / k.size(2);
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
  Tensor y = at::full(q.sizes(), NAN, q.options());
  for (int64_t row = 0; row < q.size(0); ++row) {
    const int64_t length = step.lengths[row], used = std::min(length + 1, slots);
    for (int64_t head = 0; head < q.size(2); ++head) {
      const int64_t kv = head / group;
      const Tensor keys = step.k_cache[row][kv], values = step.v_cache[row][kv];
      keys[length % slots].copy_(k[row][0][kv]);
      values[length % slots].copy_(step.v[row][0][kv]);
      const Tensor scores = at::matmul(keys.narrow(0, 0, used), q[row][0][head]) * scale;
      y[row][0][head].copy_(at::matmul(at::softmax(scores, 0), values.narrow(0, 0, used)));
    }
  }
  return y;
}

AttentionStep in_double(AttentionStep step) {
  for (Tensor* t :
       {&step.q, &step.k, &step.v, &step.cos, &step.sin, &step.k_cache, &step.v_cache}) {
    if (t->defined()) *t = t->to(at::kDouble);
  }
  return step;
}

class AttentionStepCases : public testing::TestWithParam<StepCase> {
 protected:
  const at::NoGradGuard no_grad_;
};

TEST_P(AttentionStepCases, IsAsExactAsPlainOperators) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const AttentionStep step = random_step(GetParam(), type);
    const Tensor truth = plain_step(in_double(step)), plain = plain_step(copy_of(step));
    for (const cpu::Isa isa : supported_isas()) {
      expect_as_exact(attention_step(copy_of(step), isa), plain, truth);
    }
  }
}

// Roundings of 1e-16 at each of at most two thousand additions, in another order.
TEST_P(AttentionStepCases, EqualsItsDefinitionInDouble) {
  const AttentionStep step = random_step(GetParam(), at::kDouble);
  const AttentionStep plain = copy_of(step);
  const Tensor truth = plain_step(plain);
  for (const cpu::Isa isa : supported_isas()) {
    const AttentionStep ours = copy_of(step);
    EXPECT_LE(max_difference(attention_step(ours, isa), truth), 1e-13 * max_magnitude(truth));
    EXPECT_LE(max_difference(ours.k_cache.nan_to_num(), plain.k_cache.nan_to_num()), 1e-14);
    EXPECT_LE(max_difference(ours.v_cache.nan_to_num(), plain.v_cache.nan_to_num()), 0);
    EXPECT_TRUE(ours.k_cache.isnan().equal(plain.k_cache.isnan()));
  }
}

TEST_P(AttentionStepCases, GivesTheSameBitsForAnyThreadsAndAnyOtherRows) {
  const AttentionStep step = random_step(GetParam(), at::kBFloat16);
  const int threads = at::get_num_threads();
  const Tensor all = attention_step(copy_of(step));
  at::set_num_threads(threads == 1 ? 3 : 1);
  EXPECT_TRUE(attention_step(copy_of(step)).equal(all));
  at::set_num_threads(threads);
  for (int64_t row = 0; row < step.q.size(0); ++row) {
    AttentionStep one = copy_of(step);
    for (Tensor* t : {&one.q, &one.k, &one.v, &one.cos, &one.sin, &one.k_cache, &one.v_cache}) {
      if (t->defined()) *t = t->narrow(0, row, 1);
    }
    one.lengths = one.lengths.subspan(row, 1);
    EXPECT_TRUE(attention_step(one).equal(all.narrow(0, row, 1)));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, AttentionStepCases,
    testing::Values(StepCase{1, 1, 2, 1, {0}, true}, StepCase{2, 2, 64, 40, {0, 39}, true},
                    StepCase{4, 1, 64, 600, {511, 512, 3}, true},
                    StepCase{6, 2, 20, 33, {15, 16, 17, 31, 32}, true},
                    StepCase{3, 3, 7, 100, {98}, false},
                    StepCase{2, 1, 59, 1025, {1024, 96}, false},
                    StepCase{8, 2, 128, 1600, {1599}, true},
                    StepCase{2, 1, 80, 24, {24, 100, 47, 23}, true},  // a window, full and not
                    StepCase{2, 2, 48, 2000, {5000, 1023}, false}));

// Weights of a layer around such a step, and the tensors that it takes its q, k and v from.
struct LayerCase {
  StepCase step;
  int64_t d;
  bool norms, biases;
};

AttentionLayerWeights random_weights(const LayerCase& c, at::ScalarType storage) {
  const at::Generator random = at::detail::createCPUGenerator(6);
  const auto normal = [&](std::vector<int64_t> sizes, at::ScalarType type) {
    return at::randn(sizes, random, at::TensorOptions(at::kDouble)).to(type);
  };
  const at::ScalarType wide = wide_type(storage);
  const int64_t query = c.step.heads * c.step.width, key = c.step.kv_heads * c.step.width;
  AttentionLayerWeights w{.norm = {normal({c.d}, wide), 1e-6},
                          .q = normal({query, c.d}, storage),
                          .k = normal({key, c.d}, storage),
                          .v = normal({key, c.d}, storage),
                          .o = normal({c.d, query}, storage),
                          .q_bias = {},
                          .k_bias = {},
                          .v_bias = {},
                          .o_bias = {},
                          .q_norm = {},
                          .k_norm = {},
                          .norm_eps = 1e-5};
  if (c.norms) {
    w.q_norm = normal({c.step.width}, wide);
    w.k_norm = normal({c.step.width}, wide);
  }
  if (c.biases) {
    w.q_bias = normal({query}, storage);
    w.k_bias = normal({key}, storage);
    w.v_bias = normal({key}, storage);
    w.o_bias = normal({c.d}, storage);
  }
  return w;
}

// The same from the parts' own functions.
Tensor layer_by_parts(const AttentionLayerWeights& w, AttentionStep step, const Tensor& x,
                      const StepCase& c, cpu::Isa isa) {
  const Tensor normed = rms_norm(x, w.norm.weight, w.norm.eps).to(w.q.scalar_type());
  const auto heads = [&](const Tensor& weight, const Tensor& bias, int64_t count) {
    return row_linear(normed, weight, bias, isa).reshape({x.size(0), 1, count, c.width});
  };
  step.q = heads(w.q, w.q_bias, c.heads);
  step.k = heads(w.k, w.k_bias, c.kv_heads);
  step.v = heads(w.v, w.v_bias, c.kv_heads);
  if (w.q_norm.defined()) {
    step.q = rms_norm(step.q, w.q_norm, w.norm_eps);
    step.k = rms_norm(step.k, w.k_norm, w.norm_eps);
  }
  return x + row_linear(attention_step(step, isa).flatten(2), w.o, w.o_bias, isa);
}

class AttentionLayerCases : public testing::TestWithParam<LayerCase> {};

TEST_P(AttentionLayerCases, EqualsItsPartsForAnyNumberOfThreads) {
  const at::NoGradGuard no_grad;
  const LayerCase& c = GetParam();
  for (const StepTypes& types : kStepTypes) {
    const AttentionLayerWeights w = random_weights(c, types.storage);
    const AttentionStep step = random_step(c.step, types.storage);
    const at::Generator random = at::detail::createCPUGenerator(7);
    const Tensor x = at::randn({step.q.size(0), 1, c.d}, random, at::TensorOptions(at::kDouble))
                         .to(types.residual);
    for (const cpu::Isa isa : supported_isas()) {
      const AttentionStep parts = copy_of(step);
      const Tensor expected = layer_by_parts(w, parts, x, c.step, isa);
      for_thread_counts([&](int count) {
        const AttentionStep ours = for_layer(step);
        Tensor sum = x.clone();
        attention_layer_step(w, ours, sum, isa);
        EXPECT_TRUE(sum.equal(expected)) << toString(types.residual) << count;
        EXPECT_TRUE(ours.k_cache.nan_to_num().equal(parts.k_cache.nan_to_num()));
        EXPECT_TRUE(ours.v_cache.nan_to_num().equal(parts.v_cache.nan_to_num()));
      });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Some, AttentionLayerCases,
    testing::Values(LayerCase{{4, 1, 64, 600, {511, 512, 3}, true}, 256, false, false},
                    LayerCase{{6, 2, 20, 33, {15, 16, 17, 31, 32}, true}, 59, true, false},
                    LayerCase{{3, 3, 7, 100, {98}, false}, 33, false, true},
                    LayerCase{{2, 1, 80, 24, {24, 100}, true}, 300, true, true}));

TEST(AttentionStep, ReadsPartsOfWiderTensors) {
  const at::NoGradGuard no_grad;
  const StepCase c{4, 2, 20, 9, {3, 8}, true};
  const AttentionStep step = random_step(c, at::kFloat);
  AttentionStep parts = copy_of(step);
  for (Tensor* t : {&parts.q, &parts.k, &parts.v, &parts.cos, &parts.sin}) {
    *t = at::cat({*t, *t + 1}, -1).narrow(3, 0, 20);
  }
  EXPECT_TRUE(attention_step(parts).equal(attention_step(copy_of(step))));
}

TEST(AttentionStep, TakesNoRow) {
  const at::NoGradGuard no_grad;
  const StepCase c{4, 2, 20, 9, {3}, true};
  AttentionStep step = random_step(c, at::kFloat);
  for (Tensor* t :
       {&step.q, &step.k, &step.v, &step.cos, &step.sin, &step.k_cache, &step.v_cache}) {
    *t = t->narrow(0, 0, 0);
  }
  step.lengths = {};
  EXPECT_EQ(attention_step(step).sizes(), at::IntArrayRef({0, 1, 4, 20}));
}

TEST(AttentionStep, RefusesGradients) {
  const StepCase c{1, 1, 2, 1, {0}, false};
  const AttentionStep step = random_step(c, at::kFloat);
  EXPECT_DEATH(attention_step(step), "attention_step has no gradient");
}

TEST(AttentionStepDeathTest, RefusesNegativeLengths) {
  const at::NoGradGuard no_grad;
  AttentionStep step = random_step({1, 1, 2, 1, {0}, false}, at::kFloat);
  const std::vector<int64_t> negative = {-1};
  step.lengths = negative;
  EXPECT_DEATH(attention_step(step), "a row with -1 tokens");
}

TEST(AttentionStepDeathTest, WrongWeightsAreAProgrammersError) {
  const at::NoGradGuard no_grad;
  const LayerCase c{{4, 2, 20, 9, {3}, true}, 16, true, false};
  const AttentionStep step_with_q = random_step(c.step, at::kFloat);
  const AttentionStep some = for_layer(step_with_q);
  const AttentionLayerWeights w = random_weights(c, at::kFloat);
  const auto step = [&](const AttentionLayerWeights& weights, Tensor x) {
    attention_layer_step(weights, some, x);
  };
  const Tensor x = at::full({1, 1, 16}, 1.0);
  AttentionLayerWeights wrong = w;
  wrong.k = w.k.narrow(0, 0, 20);
  EXPECT_DEATH(step(wrong, x), "k is .*\\[20, 16\\], expected");
  wrong = w;
  wrong.k_norm = Tensor();
  EXPECT_DEATH(step(wrong, x), "k_norm is undefined");
  wrong = w;
  wrong.q = w.q.narrow(0, 0, 30);
  EXPECT_DEATH(step(wrong, x), "30 queries in heads of 20");
  EXPECT_DEATH(step(w, at::full({2, 1, 16}, 1.0)), "the cache of k is");
  Tensor sum = x;
  EXPECT_DEATH(attention_layer_step(w, step_with_q, sum), "a layer makes q, k and v itself");
}

}  // namespace
}  // namespace weft
