// The closed-form fixtures of spec/models.md 21: values and gradient norms in fp64.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "models/attention.h"
#include "models/mamba.h"
#include "models/mamba2.h"
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

// Passes over whole rows of `length` tokens.
struct WholeRows {
  Documents documents;
  Rotations rotations;
  ForwardPass pass{documents, rotations, nullptr};

  WholeRows(int64_t rows, int64_t length)
      : documents(Documents::whole_rows(rows, length, at::kCPU)), rotations(documents.positions) {}
};

struct AttentionCase {
  const char* name;
  RopeType rope;
  int64_t window;
  bool qk_norm;
  Expected expected;
  std::vector<double> norms;  // x, q, k, v, o
};

class AttentionFixture : public testing::TestWithParam<AttentionCase> {};

TEST_P(AttentionFixture, MatchesClosedForm) {
  const AttentionCase& c = GetParam();
  const ModelConfig model{.vocab_size = 1, .hidden_size = 8, .init = {}, .layers = {}};
  const AttentionConfig config{.num_heads = 4,
                               .num_kv_heads = 2,
                               .head_dim = 4,
                               .qk_norm = c.qk_norm,
                               .sliding_window = c.window,
                               .rope = {.type = c.rope, .theta = 1e4}};
  ParameterTable table;
  Attention::declare(model, config, "m", table);
  ParameterStore store(table, cpu_types(at::kDouble));
  set_parameter(store, "m.q.weight", fill({16, 8}, 2, .5));
  set_parameter(store, "m.k.weight", fill({8, 8}, 3, .5));
  set_parameter(store, "m.v.weight", fill({8, 8}, 4, .5));
  set_parameter(store, "m.o.weight", fill({8, 16}, 5, .5));
  if (c.qk_norm) {
    set_parameter(store, "m.q_norm.weight", fill({4}, 6, .3, 1));
    set_parameter(store, "m.k_norm.weight", fill({4}, 7, .3, 1));
  }
  const Tensor x = fill({2, 5, 8}, 1).set_requires_grad(true);
  const Attention attention(config, 1e-6, store, "m");
  const WholeRows rows(2, 5);
  const Tensor y = attention.forward(x, rows.pass);
  expect_output(y, c.expected);
  closed_form_loss(y).backward();
  expect_near(norm_of(x.grad()), c.norms[0]);
  const char* names[] = {"m.q.weight", "m.k.weight", "m.v.weight", "m.o.weight"};
  for (int i = 0; i < 4; ++i) expect_near(norm_of(gradient_of(store, names[i])), c.norms[i + 1]);
  if (!c.qk_norm) return;
  expect_near(norm_of(gradient_of(store, "m.q_norm.weight")), 0.4662375);
  expect_near(norm_of(gradient_of(store, "m.k_norm.weight")), 0.5031839);
}

INSTANTIATE_TEST_SUITE_P(
    Spec, AttentionFixture,
    testing::Values(AttentionCase{"rotary",
                                  RopeType::kDefault,
                                  0,
                                  false,
                                  {1.347575532, -0.187421111, -5.798653167},
                                  {6.2122631, 1.0759395, 0.7816071, 1.0684051, 7.5318716}},
                    AttentionCase{"none",
                                  RopeType::kNone,
                                  0,
                                  false,
                                  {1.930363220, -0.187421111, -6.640362762},
                                  {6.4939270, 1.3206329, 1.3062771, 1.5383817, 7.0821028}},
                    AttentionCase{"window",
                                  RopeType::kDefault,
                                  3,
                                  false,
                                  {1.186966398, -0.187421111, -4.385588463},
                                  {8.4134707, 0.9066822, 0.3656641, 1.1703312, 9.2241578}},
                    AttentionCase{"qk_norm",
                                  RopeType::kDefault,
                                  0,
                                  true,
                                  {1.195616452, -0.187421111, -4.918327910},
                                  {3.4702641, 0.9213674, 0.6871712, 0.9779914, 7.1655217}}),
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
  const Tensor y = Moe(config_, {}, *store_, "f").forward(x, nullptr);
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
      .vocab_size = 1, .hidden_size = 4, .norm = {.eps = 1e-6}, .init = {}, .layers = {}};
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
  const WholeRows rows(2, 7);
  const Tensor y = Mamba(config, 1e-6, store, "m").forward(x, rows.pass);
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

// Mamba2Fixture runs over chunk sizes: the result depends on none.
class Mamba2Fixture : public testing::TestWithParam<int64_t> {};

TEST_P(Mamba2Fixture, MatchesClosedForm) {
  const ModelConfig model{.vocab_size = 1, .hidden_size = 4, .init = {}, .layers = {}};
  const Mamba2Config config{.num_heads = 4,
                            .head_dim = 2,
                            .state_size = 3,
                            .num_groups = 2,
                            .conv_kernel = 3,
                            .chunk_size = GetParam()};
  ParameterTable table;
  Mamba2::declare(model, config, "m", table);
  ParameterStore store(table, cpu_types(at::kDouble));
  // In the order of the tensors on disk.
  const auto set_rows = [&](const Tensor& joint,
                            std::vector<std::pair<const char*, int64_t>> parts) {
    int64_t row = 0;
    for (const auto& [name, rows] : parts) {
      set_parameter(store, name, joint.narrow(0, row, rows));
      row += rows;
    }
  };
  set_rows(fill({32, 4}, 2, .5), {{"m.in_z.weight", 8},
                                  {"m.in_x.weight", 8},
                                  {"m.in_b.weight", 6},
                                  {"m.in_c.weight", 6},
                                  {"m.in_dt.weight", 4}});
  set_rows(fill({20, 3}, 3, .5),
           {{"m.conv_x.weight", 8}, {"m.conv_b.weight", 6}, {"m.conv_c.weight", 6}});
  set_rows(fill({20}, 4, .2), {{"m.conv_x.bias", 8}, {"m.conv_b.bias", 6}, {"m.conv_c.bias", 6}});
  set_parameter(store, "m.dt_bias", fill({4}, 5, .5, -1));
  set_parameter(store, "m.a_log", fill({4}, 6, .5, .5));
  set_parameter(store, "m.d", fill({4}, 7, .5, 1));
  set_parameter(store, "m.norm.weight", fill({8}, 8, .3, 1));
  set_parameter(store, "m.out.weight", fill({4, 8}, 9, .5));
  const Tensor x = fill({2, 7, 4}, 1).set_requires_grad(true);
  const WholeRows rows(2, 7);
  const Tensor y = Mamba2(config, 1e-5, store, "m").forward(x, rows.pass);
  expect_output(y, {-3.675366209, 0.769778369, -0.537848476});
  closed_form_loss(y).backward();
  expect_near(norm_of(x.grad()), 17.0363111);
  const std::vector<std::pair<std::vector<const char*>, double>> groups = {
      {{"m.in_z.weight", "m.in_x.weight", "m.in_b.weight", "m.in_c.weight", "m.in_dt.weight"},
       17.7405756},
      {{"m.conv_x.weight", "m.conv_b.weight", "m.conv_c.weight"}, 51.6210225},
      {{"m.conv_x.bias", "m.conv_b.bias", "m.conv_c.bias"}, 26.9383237},
      {{"m.dt_bias"}, 0.0524404},
      {{"m.a_log"}, 0.0263978},
      {{"m.d"}, 1.8183923},
      {{"m.norm.weight"}, 5.9154916},
      {{"m.out.weight"}, 11.7402644}};
  for (const auto& [names, expected] : groups) {
    SCOPED_TRACE(names[0]);
    double square = 0;
    for (const char* name : names) {
      square += std::pow(norm_of(gradient_of(store, name)).item<double>(), 2);
    }
    EXPECT_NEAR(std::sqrt(square), expected, 1e-5 * expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Spec, Mamba2Fixture, testing::Values(1, 3, 256));

struct RopeCase {
  const char* name;
  RopeConfig config;
  std::vector<double> frequencies;  // at kChannels
};
constexpr int64_t kChannels[] = {0, 10, 20, 25, 29, 31, 34, 40, 50, 63};

class RopeFixture : public testing::TestWithParam<RopeCase> {};

TEST_P(RopeFixture, MatchesTheTable) {
  const Tensor frequencies = rope_frequencies(GetParam().config, 128, 8192, at::kDouble);
  for (size_t i = 0; i < GetParam().frequencies.size(); ++i) {
    const double expected = GetParam().frequencies[i];
    EXPECT_NEAR(frequencies[kChannels[i]].item<double>(), expected, 1e-9 * expected) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Spec, RopeFixture,
    testing::Values(
        RopeCase{
            "llama3",
            {.type = RopeType::kLlama3, .theta = 5e5, .factor = 8, .original_max_position = 8192},
            {1, 1.286873734e-1, 1.656044008e-2, 5.940730376e-3, 2.166570764e-3, 8.567514129e-4,
             1.785078128e-4, 3.428102196e-5, 4.411534675e-6, 3.068925989e-7}},
        RopeCase{
            "yarn",
            {.type = RopeType::kYarn, .theta = 1e4, .factor = 16, .original_max_position = 4096},
            {1, 2.371373706e-1, 5.623413252e-2, 2.244714171e-2, 1.040190754e-2, 6.967554763e-3,
             3.713418440e-3, 8.817889629e-4, 4.686838808e-5, 7.217387404e-6}},
        RopeCase{
            "dynamic",
            {.type = RopeType::kDynamic, .theta = 1e4, .factor = 2, .original_max_position = 4096},
            {1, 1.991895119e-1, 3.967646167e-2, 1.770786363e-2, 9.286942482e-3, 6.725522799e-3,
             4.144823003e-3, 1.574221611e-3, 3.135684343e-4, 3.849273282e-5}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace weft
