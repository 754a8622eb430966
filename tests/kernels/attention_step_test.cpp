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

#include "tests/kernels/isas.h"
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

}  // namespace
}  // namespace weft
