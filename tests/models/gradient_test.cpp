// Attention over packed documents, the mixture of experts and a whole model in fp64: against their
// definitions in plain operators, and their gradients against central differences.
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/models/plain_layers.h"
#include "tests/support/fill.h"
#include "tests/support/gradient_check.h"
#include "tests/support/tiny_model.h"

namespace weft {
namespace {

// Two rows of three and two documents.
Documents packed() {
  return Documents::from_ids(
      at::tensor({0, 0, 0, 1, 1, 2, 2, 0, 0, 0, 0, 0, 1, 1}, at::kInt).reshape({2, 7}), at::kCPU);
}

TEST(CausalAttention, EqualsItsDefinitionOnPackedDocuments) {
  const Documents documents = packed();
  const Tensor q = fill({2, 7, 4, 3}, 1), k = fill({2, 7, 2, 3}, 2), v = fill({2, 7, 2, 3}, 3);
  const Tensor difference =
      causal_attention(q, k, v, documents) - plain_attention(q, k, v, documents);
  EXPECT_LT(difference.abs().max().item<double>(), 1e-14);  // a few roundings of numbers near 1
}

TEST(CausalAttention, PassesCentralDifferences) {
  const Documents documents = packed();
  std::vector<Tensor> inputs = {fill({2, 7, 4, 3}, 1), fill({2, 7, 2, 3}, 2),
                                fill({2, 7, 2, 3}, 3)};
  for (Tensor& x : inputs) x.set_requires_grad(true);
  const auto loss = [&] {
    return closed_form_loss(causal_attention(inputs[0], inputs[1], inputs[2], documents));
  };
  loss().backward();
  for (size_t i = 0; i < inputs.size(); ++i) {
    expect_gradient(
        "qkv"[i] + std::string(), [&] { return loss().item<double>(); }, inputs[i].detach(),
        inputs[i].grad());
  }
}

TEST(CausalAttention, LaterAndOtherDocumentsDoNotReachAToken) {
  const Documents documents = packed();
  const Tensor q = fill({2, 7, 2, 3}, 1), v = fill({2, 7, 2, 3}, 3);
  const Tensor k = fill({2, 7, 2, 3}, 2);
  const Tensor changed = v.clone();
  changed[0].narrow(0, 3, 2).fill_(100.0);  // the second document of row 0
  const Tensor before = causal_attention(q, k, v, documents);
  const Tensor after = causal_attention(q, k, changed, documents);
  EXPECT_TRUE(before[0].narrow(0, 0, 3).equal(after[0].narrow(0, 0, 3)));
  EXPECT_TRUE(before[0].narrow(0, 5, 2).equal(after[0].narrow(0, 5, 2)));
  EXPECT_TRUE(before[1].equal(after[1]));
  EXPECT_FALSE(before[0].narrow(0, 3, 2).equal(after[0].narrow(0, 3, 2)));
}

class MoeGradient : public testing::TestWithParam<bool> {};

TEST_P(MoeGradient, EqualsItsDefinitionAndPassesCentralDifferences) {
  const MoeConfig config{.num_experts = 5,
                         .top_k = 2,
                         .intermediate_size = 3,
                         .renormalize = GetParam(),
                         .aux_coef = 0.3,
                         .z_coef = 0.2};
  const ModelConfig model{.vocab_size = 1, .hidden_size = 4, .init = {}, .layers = {}};
  ParameterTable table;
  Moe::declare(model, config, "f", table);
  ParameterStore store(table, cpu_types(at::kDouble));
  double phi = 2;
  for (Parameter& p : store.parameters())
    set_parameter(store, p.spec->name, fill(p.spec->shape, phi++));
  const Tensor x = fill({2, 9, 4}, 1).set_requires_grad(true);
  const Moe moe(config, {}, store, "f");
  const Tensor plain = plain_moe(store, "f", x, config.top_k, config.renormalize);
  EXPECT_LT((moe.forward(x, nullptr) - plain).abs().max().item<double>(), 1e-13);

  const auto loss = [&] {
    RouterStats stats;
    const Tensor y = closed_form_loss(moe.forward(x, &stats));
    return y + stats.aux_sums[0];
  };
  loss().backward();
  const auto value = [&] { return loss().item<double>(); };
  expect_gradient("x", value, x.detach(), x.grad());
  for (const Parameter& p : store.parameters()) {
    expect_gradient(p.spec->name, value, p.master.detach(), p.gradient);
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, MoeGradient, testing::Bool());

// Experts with no row, with one and with several multiples of kExpertRowMultiple rows, and no
// token.
TEST(Moe, EqualsItsDefinitionForAnyNumberOfTokens) {
  const MoeConfig config{.num_experts = 3, .top_k = 1, .intermediate_size = 5};
  const ModelConfig model{.vocab_size = 1, .hidden_size = 4, .init = {.std = 0.5}, .layers = {}};
  ParameterTable table;
  Moe::declare(model, config, "f", table);
  ParameterStore store(table, cpu_types(at::kDouble));
  store.initialize(1);
  const Moe moe(config, {}, store, "f");
  for (const int64_t tokens : {0, 1, 63, 64, 65, 300}) {
    const Tensor x = fill({1, tokens, 4}, 1);
    const Tensor y = moe.forward(x, nullptr);
    ASSERT_EQ(y.sizes(), x.sizes());
    if (tokens == 0) continue;
    const Tensor plain = plain_moe(store, "f", x, config.top_k, config.renormalize);
    EXPECT_LT((y - plain).abs().max().item<double>(), 1e-13) << tokens;
  }
}

// Without gradients a few tokens go another way than many: it must choose the same experts, also
// where the router's logits are equal.
TEST(Moe, FewTokensUseTheExpertsThatManyUse) {
  const at::NoGradGuard no_grad;
  const ModelConfig model{.vocab_size = 1, .hidden_size = 4, .init = {.std = 0.5}, .layers = {}};
  for (const bool renormalize : {false, true}) {
    for (const int64_t top_k : {1, 2, 3, 5}) {
      const MoeConfig config{
          .num_experts = 5, .top_k = top_k, .intermediate_size = 3, .renormalize = renormalize};
      ParameterTable table;
      Moe::declare(model, config, "f", table);
      for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
        ParameterStore store(table, cpu_types(type));
        store.initialize(1);
        const Moe moe(config, {}, store, "f");
        for (const char* ties : {"none", "some", "all"}) {
          const Tensor& router = store.compute("f.router.weight");  // [5, 4]
          if (ties[0] == 's') router[4].copy_(router[1]), router[2].copy_(router[0]);
          if (ties[0] == 'a') router.zero_();
          const Tensor x = fill({1, 3, 4}, 1).to(type);
          const Tensor few = moe.forward(x, nullptr);
          const Tensor many = moe.forward(x.repeat({1, 4, 1}), nullptr).narrow(1, 0, 3);
          EXPECT_LT((few - many).abs().max().item<double>(), type == at::kDouble ? 1e-14 : 1e-6)
              << "top " << top_k << ", ties: " << ties << ", renormalize " << renormalize;
        }
      }
    }
  }
}

TEST(Moe, AnExpertWithoutTokensHasZeroGradient) {
  const MoeConfig config{.num_experts = 3, .top_k = 1, .intermediate_size = 2};
  const ModelConfig model{.vocab_size = 1, .hidden_size = 2, .init = {.std = 0.5}, .layers = {}};
  ParameterTable table;
  Moe::declare(model, config, "f", table);
  ParameterStore store(table, cpu_types(at::kDouble));
  store.initialize(1);
  set_parameter(store, "f.router.weight",
                at::tensor({9., 9., 0., 0., -9., -9.}, at::kDouble).reshape({3, 2}));
  const Tensor x = fill({1, 6, 2}, 0, 0.1, 1.0);  // positive: expert 0 takes every token
  RouterStats stats;
  Moe(config, {}, store, "f").forward(x, &stats).sum().backward();
  EXPECT_EQ(stats.expert_counts[0][0].item<int64_t>(), 6);
  const Tensor& gradient = gradient_of(store, "f.experts.up.weight");
  EXPECT_GT(gradient[0].abs().sum().item<double>(), 0.0);
  EXPECT_EQ(gradient[1].abs().sum().item<double>(), 0.0);
  EXPECT_EQ(gradient[2].abs().sum().item<double>(), 0.0);
}

class WholeModel : public testing::TestWithParam<bool> {
 protected:
  WholeModel() {
    // Wide router margins: a step of a central difference flips no choice.
    set_parameter(store_, "layers.0.feed_forward.router.weight", fill({3, 6}, 0.4, 3.0));
  }

  static ModelConfig two_layers(bool tied) {
    ModelConfig config{.vocab_size = 11,
                       .hidden_size = 6,
                       .norm = {.eps = 1e-6},
                       .tie_embeddings = tied,
                       .init = {.std = 0.4},
                       .layers = {}};
    config.layers.push_back({MambaConfig{.inner_size = 12,
                                         .state_size = 3,
                                         .conv_kernel = 4,
                                         .dt_rank = 2,
                                         .proj_bias = true,
                                         .inner_norms = true},
                             MoeConfig{.num_experts = 3,
                                       .top_k = 2,
                                       .intermediate_size = 5,
                                       .aux_coef = 0.1,
                                       .z_coef = 0.1}});
    config.layers.push_back({AttentionConfig{.num_heads = 2,
                                             .num_kv_heads = 1,
                                             .head_dim = 4,
                                             .bias = true,
                                             .rope = {.type = RopeType::kDefault, .theta = 100.0}},
                             MlpConfig{.intermediate_size = 7, .bias = true}});
    return config;
  }

  // The gradients of `loss`, clearing those that are there.
  template <class F>
  std::vector<Tensor> gradients(const F& loss) {
    store_.clear_gradients();
    loss().backward();
    std::vector<Tensor> all;
    for (const Parameter& p : store_.parameters()) all.push_back(p.gradient.clone());
    return all;
  }

  const Documents documents_ = packed();
  const Tensor tokens_ =
      at::tensor({1, 5, 2, 10, 0, 7, 3, 4, 4, 9, 1, 2, 8, 6}, at::kLong).reshape({2, 7});
  const Tensor targets_ =
      at::tensor({5, 2, 10, 0, 7, -100, 4, 4, 9, 1, 2, 8, 6, 0}, at::kLong).reshape({2, 7});
  const ModelConfig config_ = two_layers(GetParam());
  TinyModel model_{config_, cpu_types(at::kDouble), 3};
  ParameterStore& store_ = model_.store();
};

TEST_P(WholeModel, EqualsItsDefinitionInLossAndGradients) {
  const PlainModel plain{config_, store_};
  const auto ours = [&] { return model_->loss(tokens_, targets_, documents_).loss; };
  const auto theirs = [&] { return plain.nll_sum(tokens_, targets_, documents_); };
  EXPECT_NEAR(ours().item<double>(), theirs().item<double>(), 1e-12);
  const std::vector<Tensor> expected = gradients(theirs), actual = gradients(ours);
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_LT((actual[i] - expected[i]).abs().max().item<double>(), 1e-11)
        << store_.parameters()[i].spec->name;
    EXPECT_GT(actual[i].abs().max().item<double>(), 0) << store_.parameters()[i].spec->name;
  }
}

TEST_P(WholeModel, PassesCentralDifferencesOnPackedDocuments) {
  const auto loss = [&] {
    const LossTerms terms = model_->loss(tokens_, targets_, documents_, {.target = 1 / 13.0});
    return terms.loss + terms.aux_sum / 2.0;
  };
  const auto value = [&] {
    const at::NoGradGuard no_grad;
    return loss().item<double>();
  };
  loss().backward();
  for (const Parameter& p : store_.parameters()) {
    expect_gradient(p.spec->name, value, p.master.detach(), p.gradient, 8);
  }
}

INSTANTIATE_TEST_SUITE_P(Head, WholeModel, testing::Bool(),
                         [](const auto& info) { return info.param ? "tied" : "untied"; });

}  // namespace
}  // namespace weft
