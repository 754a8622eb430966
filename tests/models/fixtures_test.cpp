// The closed-form fixtures of spec/models.md 21: values and gradient norms in fp64.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "models/attention.h"
#include "models/mamba.h"
#include "models/moe.h"
#include "tests/support/fill.h"
#include "tests/support/tiny_store.h"

namespace weft {
namespace {

// The fixtures are printed with 7 decimals or 10 digits.
constexpr double kPrinted = 2e-7;

void expect_near(const Tensor& actual, double expected) {
  EXPECT_NEAR(actual.item<double>(), expected, kPrinted * std::max(1.0, std::abs(expected)));
}

Tensor norm_of(const Tensor& x) { return x.to(at::kDouble).square().sum().sqrt(); }

struct Expected {
  double j, first, last;
};

void expect_output(const Tensor& y, const Expected& expected) {
  const Tensor flat = y.reshape(-1);
  expect_near(closed_form_loss(y), expected.j);
  expect_near(flat[0], expected.first);
  expect_near(flat[-1], expected.last);
}

struct AttentionCase {
  const char* name;
  RopeType rope;
  Expected expected;
  std::vector<double> norms;  // x, q, k, v, o
};

class AttentionFixture : public testing::TestWithParam<AttentionCase> {};

TEST_P(AttentionFixture, MatchesClosedForm) {
  const AttentionCase& c = GetParam();
  const ModelConfig model{.vocab_size = 1, .hidden_size = 8, .init = {}, .layers = {}};
  const AttentionConfig config{
      .num_heads = 4, .num_kv_heads = 2, .head_dim = 4, .rope = {c.rope, 1e4}};
  ParameterTable table;
  Attention::declare(model, config, "m", table);
  ParameterStore store(table, cpu_types(at::kDouble));
  set_parameter(store, "m.q.weight", fill({16, 8}, 2, .5));
  set_parameter(store, "m.k.weight", fill({8, 8}, 3, .5));
  set_parameter(store, "m.v.weight", fill({8, 8}, 4, .5));
  set_parameter(store, "m.o.weight", fill({8, 16}, 5, .5));
  const Tensor x = fill({2, 5, 8}, 1).set_requires_grad(true);
  const Attention attention(config, store, "m");
  const Tensor y = attention.forward(x, Documents::whole_rows(2, 5, at::kCPU));
  expect_output(y, c.expected);
  closed_form_loss(y).backward();
  expect_near(norm_of(x.grad()), c.norms[0]);
  const char* names[] = {"m.q.weight", "m.k.weight", "m.v.weight", "m.o.weight"};
  for (int i = 0; i < 4; ++i) expect_near(norm_of(gradient_of(store, names[i])), c.norms[i + 1]);
}

INSTANTIATE_TEST_SUITE_P(
    Spec, AttentionFixture,
    testing::Values(AttentionCase{"rotary",
                                  RopeType::kDefault,
                                  {1.347575532, -0.187421111, -5.798653167},
                                  {6.2122631, 1.0759395, 0.7816071, 1.0684051, 7.5318716}},
                    AttentionCase{"none",
                                  RopeType::kNone,
                                  {1.930363220, -0.187421111, -6.640362762},
                                  {6.4939270, 1.3206329, 1.3062771, 1.5383817, 7.0821028}}),
    [](const auto& info) { return info.param.name; });

struct MoeCase {
  const char* name;
  bool renormalize;
  Expected expected;
  std::vector<double> norms;  // x, router, gate, up, down
};

class MoeFixture : public testing::TestWithParam<MoeCase> {
 protected:
  MoeFixture() {
    config_ = {.num_experts = 4,
               .top_k = 2,
               .intermediate_size = 6,
               .renormalize = GetParam().renormalize,
               .aux_coef = 1.0,
               .z_coef = 0.0};
    const ModelConfig model{.vocab_size = 1, .hidden_size = 4, .init = {}, .layers = {}};
    Moe::declare(model, config_, "f", table_);
    store_.emplace(table_, cpu_types(at::kDouble));
    set_parameter(*store_, "f.router.weight", fill({4, 4}, 2));
    set_parameter(*store_, "f.experts.gate.weight", fill({4, 6, 4}, 3, .5));
    set_parameter(*store_, "f.experts.up.weight", fill({4, 6, 4}, 4, .5));
    set_parameter(*store_, "f.experts.down.weight", fill({4, 4, 6}, 5, .5));
  }
  MoeConfig config_;
  ParameterTable table_;
  std::optional<ParameterStore> store_;
};

TEST_P(MoeFixture, MatchesClosedForm) {
  const Tensor x = fill({1, 6, 4}, 1).set_requires_grad(true);
  const Tensor y = Moe(config_, *store_, "f").forward(x, nullptr);
  expect_output(y, GetParam().expected);
  closed_form_loss(y).backward();
  expect_near(norm_of(x.grad()), GetParam().norms[0]);
  const char* names[] = {"f.router.weight", "f.experts.gate.weight", "f.experts.up.weight",
                         "f.experts.down.weight"};
  for (int i = 0; i < 4; ++i) {
    expect_near(norm_of(gradient_of(*store_, names[i])), GetParam().norms[i + 1]);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Spec, MoeFixture,
    testing::Values(MoeCase{"raw",
                            false,
                            {0.380375845, -0.351664308, 0.242754509},
                            {0.9162322, 0.0770168, 0.3640174, 0.3669998, 1.0670697}},
                    MoeCase{"renormalized",
                            true,
                            {0.500311177, -0.363191898, 0.289065719},
                            {0.9421654, 0.0928808, 0.4245365, 0.4269913, 1.2458860}}),
    [](const auto& info) { return info.param.name; });

TEST(Router, ChoosesTheFixturesExpertsInAscendingOrder) {
  const Tensor logits = fill({6, 4}, 1).matmul(fill({4, 4}, 2).t());
  const Routing routing = route(logits, 2, false);
  const std::vector<int64_t> expected = {0, 2, 1, 3, 0, 2, 0, 3, 1, 2, 0, 2};
  for (int64_t i = 0; i < 12; ++i) {
    EXPECT_EQ(routing.experts.reshape(-1)[i].item<int64_t>(), expected[i]) << i;
  }
}

TEST(Router, TiesGoToTheLowerExpert) {
  const Routing routing = route(fill({1, 5}, 0, 0.0, 1.0), 3, false);
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(routing.experts[0][i].item<int64_t>(), i);
}

TEST(Router, BalanceAndZLossMatchTheFixture) {
  const Tensor x = fill({6, 4}, 1);
  const Tensor router = fill({4, 4}, 2).set_requires_grad(true);
  // The fixture is Hugging Face's form, k times the Switch form.
  const Tensor logits = x.matmul(router.t());
  const Tensor balance = balance_loss_sum(route(logits, 2, false), 1, 1.0) * 2;
  expect_near(balance, 2.099233866);
  balance.backward();
  expect_near(norm_of(router.grad()), 0.1302968);
  router.mutable_grad().zero_();
  const Tensor z = router_z_loss_sum(x.matmul(router.t()), 1, 1.0);
  expect_near(z, 4.070036391);
  z.backward();
  expect_near(norm_of(router.grad()), 1.9460431);
}

struct MambaCase {
  const char* name;
  bool inner_norms;
  Expected expected;
  std::vector<double> norms;  // x, in, conv, conv bias, x_proj, dt, dt bias, A_log, D, out
};

class MambaFixture : public testing::TestWithParam<MambaCase> {};

TEST_P(MambaFixture, MatchesClosedForm) {
  const MambaCase& c = GetParam();
  const ModelConfig model{
      .vocab_size = 1, .hidden_size = 4, .norm_eps = 1e-6, .init = {}, .layers = {}};
  const MambaConfig config{.inner_size = 8,
                           .state_size = 3,
                           .conv_kernel = 3,
                           .dt_rank = 2,
                           .inner_norms = c.inner_norms};
  ParameterTable table;
  Mamba::declare(model, config, "m", table);
  ParameterStore store(table, cpu_types(at::kDouble));
  const Tensor in = fill({16, 4}, 2, .5), x_proj = fill({8, 8}, 5, .5);
  set_parameter(store, "m.in_x.weight", in.narrow(0, 0, 8));
  set_parameter(store, "m.in_z.weight", in.narrow(0, 8, 8));
  set_parameter(store, "m.conv.weight", fill({8, 3}, 3, .5));
  set_parameter(store, "m.conv.bias", fill({8}, 4, .2));
  set_parameter(store, "m.x_dt.weight", x_proj.narrow(0, 0, 2));
  set_parameter(store, "m.x_b.weight", x_proj.narrow(0, 2, 3));
  set_parameter(store, "m.x_c.weight", x_proj.narrow(0, 5, 3));
  set_parameter(store, "m.dt.weight", fill({8, 2}, 6, .5));
  set_parameter(store, "m.dt.bias", fill({8}, 7, .5, -1));
  set_parameter(store, "m.a_log", fill({8, 3}, 8, .5, .5));
  set_parameter(store, "m.d", fill({8}, 9, .5, 1));
  set_parameter(store, "m.out.weight", fill({4, 8}, 10, .5));
  if (c.inner_norms) {
    set_parameter(store, "m.dt_norm.weight", fill({2}, 11, .3, 1));
    set_parameter(store, "m.b_norm.weight", fill({3}, 12, .3, 1));
    set_parameter(store, "m.c_norm.weight", fill({3}, 13, .3, 1));
  }
  const Tensor x = fill({2, 7, 4}, 1).set_requires_grad(true);
  const Tensor y =
      Mamba(config, 1e-6, store, "m").forward(x, Documents::whole_rows(2, 7, at::kCPU));
  expect_output(y, c.expected);
  closed_form_loss(y).backward();
  const auto joint = [&](std::vector<const char*> names) {
    Tensor square = gradient_of(store, names[0]).square().sum();
    for (size_t i = 1; i < names.size(); ++i)
      square = square + gradient_of(store, names[i]).square().sum();
    return square.sqrt();
  };
  const std::vector<std::vector<const char*>> groups = {
      {"m.in_x.weight", "m.in_z.weight"},
      {"m.conv.weight"},
      {"m.conv.bias"},
      {"m.x_dt.weight", "m.x_b.weight", "m.x_c.weight"},
      {"m.dt.weight"},
      {"m.dt.bias"},
      {"m.a_log"},
      {"m.d"},
      {"m.out.weight"}};
  expect_near(norm_of(x.grad()), c.norms[0]);
  for (size_t i = 0; i < groups.size(); ++i) {
    SCOPED_TRACE(groups[i][0]);
    expect_near(joint(groups[i]), c.norms[i + 1]);
  }
  if (!c.inner_norms) return;
  expect_near(joint({"m.dt_norm.weight"}), 0.0999633);
  expect_near(joint({"m.b_norm.weight"}), 0.0916210);
  expect_near(joint({"m.c_norm.weight"}), 0.0820569);
}

INSTANTIATE_TEST_SUITE_P(
    Spec, MambaFixture,
    testing::Values(MambaCase{"inner_norms",
                              true,
                              {-0.013135090, -0.013329644, -0.006886153},
                              {1.0097313, 0.8082125, 3.0008615, 1.9344222, 0.3001177, 0.1449402,
                               0.0955780, 0.0666636, 0.1765162, 0.3319524}},
                    MambaCase{"plain",
                              false,
                              {-0.081627249, -0.008674597, 0.021299628},
                              {0.7596954, 0.4143725, 0.9510072, 0.3738801, 0.0098005, 0.0027340,
                               0.0074748, 0.0024271, 0.1765162, 0.2210720}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace weft
