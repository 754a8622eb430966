#include "optim/optimizer.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr int kUpdates = 20;
constexpr double kLr = 0.05;

OptimConfig config() {
  return {.kind = OptimKind::kAdamW,
          .betas = {0.8, 0.95},
          .eps = 1e-6,
          .weight_decay = 0.3,
          .clip_norm = 1.0};
}

// A matrix that decays, and a bias of an odd length that does not.
ParameterTable two_rows() {
  ParameterTable table;
  for (const bool decays : {true, false}) {
    ParameterSpec spec;
    spec.name = decays ? "weight" : "bias";
    spec.shape = decays ? std::vector<int64_t>{13, 79} : std::vector<int64_t>{97};
    spec.decay = decays ? WeightDecay::kYes : WeightDecay::kNo;
    table.add(spec);
  }
  return table;
}

Tensor start_of(const ParameterSpec& spec) { return fill(spec.shape, 0.2, 0.5); }
Tensor gradient_of(const ParameterSpec& spec, int step) {
  return fill(spec.shape, 1.1 * step, 2.0);
}

// A store with an optimiser, driven by the gradients above.
class Training {
 public:
  explicit Training(const ParameterTable& table, at::ScalarType type)
      : store_(table, {.master = type, .compute = type, .device = at::kCPU}),
        optimizer_(config(), store_) {
    for (Parameter& p : store_.parameters()) p.master.detach().copy_(start_of(*p.spec));
  }

  void update(int first, int end) {
    for (int step = first; step < end; ++step) {
      for (Parameter& p : store_.parameters()) p.gradient.copy_(gradient_of(*p.spec, step));
      optimizer_.update(step, kLr);
    }
  }
  Tensor master(size_t row) const { return store_.parameters()[row].master.detach(); }
  ParameterStore& store() { return store_; }
  Optimizer& optimizer() { return optimizer_; }

 private:
  ParameterStore store_;
  Optimizer optimizer_;
};

// Algorithm 2 of arXiv:1711.05101 with the learning rate in front of the decay, an element at a
// time in fp64.
std::vector<double> reference(const ParameterSpec& spec, int updates) {
  const OptimConfig c = config();
  const double decay = spec.decay == WeightDecay::kYes ? c.weight_decay : 0.0;
  const Tensor start = start_of(spec);
  std::vector<double> values(start.const_data_ptr<double>(),
                             start.const_data_ptr<double>() + start.numel());
  std::vector<double> m(values.size()), v(values.size());
  for (int step = 0; step < updates; ++step) {
    const Tensor gradient = gradient_of(spec, step);
    const double* g = gradient.const_data_ptr<double>();
    for (size_t i = 0; i < values.size(); ++i) {
      m[i] = c.betas[0] * m[i] + (1 - c.betas[0]) * g[i];
      v[i] = c.betas[1] * v[i] + (1 - c.betas[1]) * g[i] * g[i];
      const double m_hat = m[i] / (1 - std::pow(c.betas[0], step + 1));
      const double v_hat = v[i] / (1 - std::pow(c.betas[1], step + 1));
      values[i] -= kLr * (decay * values[i] + m_hat / (std::sqrt(v_hat) + c.eps));
    }
  }
  return values;
}

// Each update rounds some ten operations on numbers of size about 1.
double tolerance(at::ScalarType type) {
  return 10 * kUpdates * (type == at::kDouble ? 0x1p-53 : 0x1p-24);
}

TEST(Optimizer, FollowsThePlainReferenceInBothTypes) {
  const ParameterTable table = two_rows();
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    Training run(table, type);
    run.update(0, kUpdates);
    for (size_t row = 0; row < 2; ++row) {
      const std::vector<double> expected = reference(table.rows()[row], kUpdates);
      const Tensor master = run.master(row).to(at::kDouble).contiguous();
      const double* values = master.const_data_ptr<double>();
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_NEAR(values[i], expected[i], tolerance(type)) << "row " << row << " element " << i;
      }
    }
  }
}

TEST(Optimizer, TheFirstUpdateIsTheLearningRateAgainstTheGradientsSign) {
  const ParameterTable table = two_rows();
  Training run(table, at::kDouble);
  run.store().parameters()[1].master.detach().fill_(1.0);
  run.store().parameters()[1].gradient.fill_(-400.0);
  run.optimizer().update(0, 0.25);
  EXPECT_NEAR(run.master(1)[0].item<double>(), 1.25, 1e-8);  // eps / |gradient| = 2.5e-9
}

TEST(Optimizer, WithoutGradientOnlyRowsThatDecayMove) {
  const ParameterTable table = two_rows();
  Training run(table, at::kDouble);
  const Tensor weight = run.master(0).clone(), bias = run.master(1).clone();
  run.optimizer().update(0, 0.5);
  EXPECT_TRUE(run.master(1).equal(bias));
  EXPECT_LE((run.master(0) - weight * (1 - 0.5 * 0.3)).abs().max().item<double>(), 0x1p-53);
}

TEST(Optimizer, LeavesGradientsZero) {
  const ParameterTable table = two_rows();
  Training run(table, at::kFloat);
  run.update(0, 1);
  for (const Parameter& p : run.store().parameters()) {
    EXPECT_EQ(p.gradient.abs().max().item<double>(), 0) << p.spec->name;
  }
}

TEST(Optimizer, ScalesGradientsOnTheWay) {
  const ParameterTable table = two_rows();
  Training scaled(table, at::kDouble), plain(table, at::kDouble);
  for (Parameter& p : scaled.store().parameters()) p.gradient.copy_(gradient_of(*p.spec, 0));
  for (Parameter& p : plain.store().parameters()) p.gradient.copy_(gradient_of(*p.spec, 0) * 0.25);
  scaled.optimizer().update(0, kLr, 0.25);
  plain.optimizer().update(0, kLr);
  for (size_t row = 0; row < 2; ++row) EXPECT_TRUE(scaled.master(row).equal(plain.master(row)));
}

// The values to compute with are those of the new masters.
TEST(Optimizer, RefreshesComputeValues) {
  ParameterTable table = two_rows();
  table.add(
      {.name = "tied", .shape = {3}, .sharding = {}, .init = {}, .compute = ComputeType::kBoth});
  ParameterStore store(table, {.master = at::kFloat, .compute = at::kBFloat16, .device = at::kCPU});
  store.initialize(1);
  Optimizer optimizer(config(), store);
  for (Parameter& p : store.parameters()) p.gradient.copy_(gradient_of(*p.spec, 0));
  optimizer.update(0, kLr);
  for (const Parameter& p : store.parameters()) {
    const Tensor& narrow = store.narrow(p.spec->name);
    EXPECT_EQ(p.compute.is_same(p.master), p.spec->name == "tied");
    EXPECT_TRUE(narrow.equal(p.master.to(at::kBFloat16)));
  }
}

TEST(Optimizer, TwoRunsAreBitForBitEqual) {
  const ParameterTable table = two_rows();
  Training a(table, at::kFloat), b(table, at::kFloat);
  a.update(0, kUpdates);
  b.update(0, kUpdates);
  for (size_t row = 0; row < 2; ++row) EXPECT_TRUE(a.master(row).equal(b.master(row)));
}

TEST(Optimizer, GoesOnFromItsStateBitForBit) {
  const ParameterTable table = two_rows();
  Training whole(table, at::kFloat), first(table, at::kFloat), second(table, at::kFloat);
  whole.update(0, kUpdates);
  first.update(0, 7);
  for (size_t row = 0; row < 2; ++row) second.master(row).copy_(first.master(row));
  const std::vector<NamedTensor> from = first.optimizer().state();
  const std::vector<NamedTensor> to = second.optimizer().state();
  for (size_t i = 0; i < from.size(); ++i) to[i].tensor.copy_(from[i].tensor);
  second.update(7, kUpdates);
  for (size_t row = 0; row < 2; ++row) {
    EXPECT_TRUE(second.master(row).equal(whole.master(row))) << row;
  }
}

TEST(Optimizer, NamesItsMomentsAfterTheirParameters) {
  const ParameterTable table = two_rows();
  Training run(table, at::kFloat);
  std::vector<std::string> names;
  for (const NamedTensor& moment : run.optimizer().state()) {
    names.push_back(moment.name);
    EXPECT_EQ(moment.tensor.abs().sum().item<double>(), 0.0);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"weight.m", "weight.v", "bias.m", "bias.v"}));
}

TEST(OptimConfig, BetasAreTwo) {
  Problems problems;
  validate(config(), problems);
  EXPECT_EQ(problems.text(), "");
  OptimConfig three = config();
  three.betas = {0.9, 0.95, 0.99};
  validate(three, problems);
  EXPECT_EQ(problems.text(), "betas: has 3 values, must have two: [beta1, beta2]");
}

}  // namespace
}  // namespace weft
