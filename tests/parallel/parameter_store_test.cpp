#include "parallel/parameter_store.h"

#include <cmath>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/support/tiny_store.h"

namespace weft {
namespace {

using Kind = Initializer::Kind;

ParameterSpec row(std::string name, std::vector<int64_t> shape, Initializer init,
                  ComputeType compute = ComputeType::kRecipe) {
  return {.name = std::move(name),
          .shape = std::move(shape),
          .sharding = {},
          .init = init,
          .compute = compute};
}

TEST(InitialValue, IsAFunctionOfNameAndElementAlone) {
  const ParameterSpec spec =
      row("layers.0.q.weight", {300, 500}, {.kind = Kind::kNormal, .a = 0.02});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Tensor one = initial_value(spec, 7, at::kFloat);
  at::set_num_threads(3);
  const Tensor three = initial_value(spec, 7, at::kFloat);
  at::set_num_threads(threads);
  EXPECT_TRUE(one.equal(three));

  // Element 123,457 on its own, from the stream.
  double value[1];
  RandomStream(7, "init", spec.name).fill_normal(123'457, value);
  EXPECT_EQ(one.reshape(-1)[123'457].item<float>(), static_cast<float>(0.02 * value[0]));
  EXPECT_FALSE(one.equal(initial_value(spec, 8, at::kFloat)));
  EXPECT_FALSE(one.equal(initial_value(row("other", {300, 500}, spec.init), 7, at::kFloat)));
}

TEST(InitialValue, HasTheAskedDistribution) {
  const Tensor normal =
      initial_value(row("n", {200'000}, {.kind = Kind::kNormal, .a = 0.5}), 1, at::kDouble);
  // Standard errors at 200,000 draws: mean 0.5/447 = 0.0011, deviation 0.0008; four of them.
  EXPECT_NEAR(normal.mean().item<double>(), 0.0, 0.0045);
  EXPECT_NEAR(normal.square().mean().sqrt().item<double>(), 0.5, 0.0032);
  const Tensor uniform =
      initial_value(row("u", {200'000}, {.kind = Kind::kUniform, .a = 3.0}), 1, at::kDouble);
  EXPECT_GE(uniform.min().item<double>(), -3.0);
  EXPECT_LT(uniform.max().item<double>(), 3.0);
  EXPECT_NEAR(uniform.square().mean().item<double>(), 3.0, 0.025);  // a^2 / 3, error 2.68 / 447
}

TEST(InitialValue, LogArangeCountsAlongTheLastDimension) {
  const Tensor a = initial_value(row("a", {3, 4}, {.kind = Kind::kLogArange}), 1, at::kDouble);
  for (int64_t c = 0; c < 3; ++c) {
    for (int64_t n = 0; n < 4; ++n) EXPECT_DOUBLE_EQ(a[c][n].item<double>(), std::log(n + 1.0));
  }
}

TEST(InitialValue, StepSizesComeBackThroughSoftplus) {
  const Tensor bias = initial_value(
      row("b", {5000}, {.kind = Kind::kInverseSoftplus, .a = 1e-3, .b = 0.1, .c = 2e-3}), 1,
      at::kDouble);
  const Tensor dt = bias.exp().log1p();
  EXPECT_GE(dt.min().item<double>(), 2e-3 * (1 - 1e-12));
  EXPECT_LE(dt.max().item<double>(), 0.1);
  EXPECT_GT(dt.max().item<double>(), 0.09);
  EXPECT_NEAR(dt.eq(dt.min()).to(at::kDouble).mean().item<double>(), 0.15, 0.03);  // ln 2 / ln 100
}

TEST(ParameterStore, BackwardAddsToTheGradientsOfMasters) {
  ParameterTable table;
  table.add(row("w", {2}, {.kind = Kind::kConstant, .a = 1.0}));
  table.add(row("norm", {2}, {.kind = Kind::kConstant, .a = 1.0}, ComputeType::kMaster));
  ParameterStore store(table, {at::kFloat, at::kBFloat16, at::kCPU});
  store.initialize(1);
  EXPECT_EQ(store.compute("w").scalar_type(), at::kBFloat16);
  EXPECT_EQ(store.compute("norm").scalar_type(), at::kFloat);
  const auto micro_batch = [&](double scale) { (store.compute("norm") * scale).sum().backward(); };
  micro_batch(256.0);
  micro_batch(1.0);  // 257 is no bf16 number
  EXPECT_EQ(gradient_of(store, "norm")[1].item<float>(), 257.0f);
  store.clear_gradients();
  micro_batch(2.0);
  EXPECT_EQ(gradient_of(store, "norm")[0].item<float>(), 2.0f);
}

TEST(ParameterStoreDeathTest, NoGradientIsLostOnACopy) {
  ParameterTable table;
  table.add(row("w", {2}, {.kind = Kind::kConstant, .a = 1.0}));
  table.add(row("tied", {2}, {.kind = Kind::kConstant, .a = 1.0}, ComputeType::kBoth));
  const auto left_on = [&](const auto& value) {
    ParameterStore store(table, {at::kFloat, at::kBFloat16, at::kCPU});
    store.initialize(1);
    value(store).sum().backward();
    store.check_gradients();
  };
  EXPECT_DEATH(left_on([](const ParameterStore& store) { return store.compute("w"); }),
               "the gradient of 'w' was left on a copy");
  EXPECT_DEATH(left_on([](const ParameterStore& store) { return store.narrow("tied"); }),
               "the gradient of 'tied' was left on a copy");
  left_on([](const ParameterStore& store) { return store.compute("tied"); });
}

// The master to look up in, and its copy to multiply with, which follows it.
TEST(ParameterStore, HasBothValuesOfATiedEmbedding) {
  ParameterTable table;
  table.add(row("tied", {3, 2}, {.kind = Kind::kNormal, .a = 1.0}, ComputeType::kBoth));
  for (const Gradients gradients : {Gradients::kNone, Gradients::kKept}) {
    const StoreTypes types{at::kFloat, at::kBFloat16, at::kCPU};
    ParameterStore store(table, types, gradients);
    const bool kept = gradients == Gradients::kKept;
    EXPECT_EQ(store.compute("tied").scalar_type(), at::kFloat);
    EXPECT_EQ(store.narrow("tied").scalar_type(), at::kBFloat16);
    EXPECT_EQ(store_bytes(table, types, gradients), 6 * (kept ? 4 + 2 + 4 : 4 + 2));
    if (!kept) continue;
    store.initialize(1);
    EXPECT_TRUE(store.narrow("tied").equal(store.compute("tied").to(at::kBFloat16)));
  }
  const ParameterStore same(table, {at::kFloat, at::kFloat, at::kCPU});
  EXPECT_TRUE(same.narrow("tied").is_same(same.compute("tied")));
}

// Rows of one kind are parts of one flat tensor, in the order of the table and with zeros between.
TEST(ParameterStore, LaysRowsOfAKindOutInFlatBuckets) {
  ParameterTable table;
  table.add(row("a", {5, 3}, {.kind = Kind::kConstant, .a = 1.0}));
  table.add(row("norm", {7}, {.kind = Kind::kConstant, .a = 2.0}, ComputeType::kMaster));
  table.add(row("tied", {9}, {.kind = Kind::kConstant, .a = 3.0}, ComputeType::kBoth));
  table.add(row("b", {200}, {.kind = Kind::kConstant, .a = 4.0}));
  ParameterSpec bias = row("bias", {2}, {.kind = Kind::kConstant, .a = 5.0});
  bias.decay = WeightDecay::kNo;
  table.add(bias);
  const auto buckets_of = [&](at::ScalarType compute) {
    ParameterStore store(table, {at::kFloat, compute, at::kCPU});
    store.initialize(1);
    for (const Parameter& p : store.parameters()) {
      const ParameterBucket& bucket = store.buckets()[p.place.bucket];
      EXPECT_EQ(bucket.layout.decay, p.spec->decay);
      EXPECT_EQ(p.place.offset % kRowMultiple, 0);
      const auto is_part = [&](const Tensor& part, const Tensor& flat) {
        return part.is_contiguous() &&
               part.const_data_ptr() == flat[p.place.offset].const_data_ptr();
      };
      EXPECT_TRUE(is_part(p.master, bucket.master)) << p.spec->name;
      EXPECT_TRUE(is_part(p.gradient, bucket.gradient)) << p.spec->name;
      const Tensor& narrow = store.narrow(p.spec->name);
      EXPECT_TRUE(is_part(narrow, narrow.is_same(p.master) ? bucket.master : bucket.narrow));
    }
    double sum = 0;
    for (const ParameterBucket& bucket : store.buckets()) {
      sum += bucket.master.sum().item<double>();
      EXPECT_EQ(bucket.master.size(0) % kRowMultiple, 0);
    }
    EXPECT_EQ(sum, 15 * 1 + 7 * 2 + 9 * 3 + 200 * 4 + 2 * 5);
    return store.buckets().size();
  };
  EXPECT_EQ(buckets_of(at::kFloat), 2u);
  EXPECT_EQ(buckets_of(at::kBFloat16), 4u);
}

// A joint of rows that stand apart in the table is one tensor of the same values and gradients.
TEST(ParameterStore, JoinsRows) {
  const auto part = [](const char* name, int64_t rows, double value, const char* joint) {
    ParameterSpec spec = row(name, {rows, 3}, {.kind = Kind::kConstant, .a = value});
    spec.joint = joint;
    return spec;
  };
  ParameterTable table;
  table.add(part("a", 2, 1.0, "all"));
  table.add(part("alone", 5, 7.0, ""));
  table.add(part("b", 1, 2.0, "all"));
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    ParameterStore store(table, {at::kFloat, compute, at::kCPU});
    store.initialize(1);
    EXPECT_TRUE(store.has("all") && store.has("a") && !store.has("c"));
    const Tensor& all = store.compute("all");
    EXPECT_TRUE(all.requires_grad() && all.is_leaf());
    EXPECT_TRUE(all.is_contiguous());
    EXPECT_EQ(all.sizes(), at::IntArrayRef({3, 3}));
    EXPECT_TRUE(all[0].detach().equal(store.compute("a")[0].detach()));
    EXPECT_EQ(all[2][1].item<float>(), 2.0F);
    EXPECT_EQ(store.compute("b").const_data_ptr(), all[2].const_data_ptr());
    if (compute == at::kFloat) (all * 3).sum().backward();
    store.gradient("all").add_(1);
    const float expected = compute == at::kFloat ? 4.0F : 1.0F;
    EXPECT_EQ(gradient_of(store, "a")[1][2].item<float>(), expected);
    EXPECT_EQ(gradient_of(store, "b")[0][0].item<float>(), expected);
    EXPECT_EQ(gradient_of(store, "alone")[0][0].item<float>(), 0.0F);
    store.clear_gradients();
    EXPECT_EQ(store.gradient("all").abs().sum().item<float>(), 0.0F);
  }
  const ParameterStore read_only(table, {at::kFloat, at::kBFloat16, at::kCPU}, Gradients::kNone);
  EXPECT_FALSE(read_only.compute("all").requires_grad() || read_only.gradient("all").defined());
}

TEST(ParameterStoreDeathTest, JoinsAgreeInAllButTheFirstDimension) {
  ParameterTable table;
  ParameterSpec a = row("a", {2, 3}, {}), b = row("b", {2, 4}, {});
  a.joint = b.joint = "all";
  table.add(a);
  table.add(b);
  EXPECT_DEATH(ParameterStore(table, {at::kFloat, at::kFloat, at::kCPU}),
               "'b' cannot be joined with 'a'");
}

TEST(ParameterStoreDeathTest, AJointHasANameOfItsOwn) {
  ParameterTable table;
  ParameterSpec a = row("a", {2, 3}, {});
  a.joint = "b";
  table.add(a);
  table.add(row("b", {2, 3}, {}));
  EXPECT_DEATH(ParameterStore(table, {at::kFloat, at::kFloat, at::kCPU}),
               "'a' cannot be joined as 'b'");
}

// Rows of a joint begin with the same values as alone.
TEST(ParameterStore, InitializesTheRowsOfAJoint) {
  ParameterTable table;
  for (const char* name : {"a", "b"}) {
    ParameterSpec spec = row(name, {3, 5}, {.kind = Kind::kNormal, .a = 1.0});
    spec.joint = "all";
    table.add(spec);
  }
  ParameterStore store(table, {at::kFloat, at::kFloat, at::kCPU});
  store.initialize(7);
  for (const Parameter& p : store.parameters()) {
    EXPECT_TRUE(p.master.detach().equal(initial_value(*p.spec, 7, at::kFloat))) << p.spec->name;
  }
  EXPECT_FALSE(store.compute("a").detach().equal(store.compute("b").detach()));
}

TEST(ParameterStore, RefreshRoundsTheMasters) {
  ParameterTable table;
  table.add(row("w", {1}, {.kind = Kind::kConstant, .a = 1.0 + 1.0 / 512}));
  ParameterStore store(table, {at::kFloat, at::kBFloat16, at::kCPU});
  store.initialize(1);
  EXPECT_EQ(store.parameters()[0].master.item<float>(), 1.001953125f);
  EXPECT_EQ(store.compute("w").to(at::kFloat).item<float>(), 1.0f);
}

TEST(ParameterStore, BytesAreThoseOfItsTensors) {
  ParameterTable table;
  table.add(row("w", {3, 5}, {}));
  table.add(row("norm", {7}, {}, ComputeType::kMaster));
  table.add(row("tied", {11}, {}, ComputeType::kBoth));
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    const StoreTypes types = {at::kFloat, compute, at::kCPU};
    for (const Gradients gradients : {Gradients::kNone, Gradients::kKept}) {
      ParameterStore store(table, types, gradients);
      int64_t bytes = 0;
      for (const Parameter& p : store.parameters()) {
        const bool copy = !p.compute.is_same(p.master);
        bytes += static_cast<int64_t>(p.compute.nbytes());
        if (p.copy.defined()) bytes += static_cast<int64_t>(p.copy.nbytes());
        if (gradients == Gradients::kNone) continue;
        bytes += static_cast<int64_t>(p.gradient.nbytes());
        if (copy) bytes += static_cast<int64_t>(p.master.nbytes());
      }
      EXPECT_EQ(store_bytes(table, types, gradients), bytes);
    }
  }
}

TEST(ParameterTable, CountsActiveParametersByTheirShare) {
  ParameterTable table;
  table.add({.name = "dense", .shape = {3, 5}, .sharding = {}, .init = {}});
  table.add(
      {.name = "experts", .shape = {8, 10}, .sharding = {}, .init = {}, .active_share = 0.25});
  EXPECT_EQ(table.numel(), 95);
  EXPECT_EQ(table.active_numel(), 35);
  EXPECT_EQ(table.find("absent"), nullptr);
}

TEST(ParameterTableDeathTest, ANameStandsInItOnce) {
  ParameterTable table;
  table.add(row("w", {1}, {}));
  EXPECT_DEATH(table.add(row("w", {2}, {})), "'w' is declared twice");
}

}  // namespace
}  // namespace weft
