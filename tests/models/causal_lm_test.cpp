#include "models/causal_lm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/support/closeness.h"
#include "tests/support/tiny_model.h"

namespace weft {
namespace {

ModelConfig small_jamba() {
  ModelRecipe recipe = tiny_recipe(Family::kJamba, 4);
  recipe.layout.attention_period = 4;
  recipe.layout.attention_offset = 2;
  return built(recipe);
}

TEST(CausalLM, PackedDocumentsGiveTheLogitsOfSeparateOnes) {
  const TinyModel model(small_jamba());
  const Tensor packed =
      model->logits(token_row({1, 2, 3, 4, 5, 30, 31, 9, 8}),
                    Documents::from_ids(
                        at::tensor({0, 0, 0, 0, 0, 1, 1, 2, 2}, at::kInt).unsqueeze(0), at::kCPU));
  const auto alone = [&](std::vector<int64_t> ids) {
    const int64_t length = static_cast<int64_t>(ids.size());
    return model->logits(token_row(ids), Documents::whole_rows(1, length, at::kCPU));
  };
  const auto largest_difference = [](const Tensor& a, const Tensor& b) {
    return (a - b).abs().max().item<double>();
  };
  EXPECT_LT(largest_difference(packed.narrow(1, 0, 5), alone({1, 2, 3, 4, 5})), 1e-13);
  EXPECT_LT(largest_difference(packed.narrow(1, 5, 2), alone({30, 31})), 1e-13);
  EXPECT_LT(largest_difference(packed.narrow(1, 7, 2), alone({9, 8})), 1e-13);
  EXPECT_GT(largest_difference(packed.narrow(1, 7, 2), alone({1, 8})), 1e-3);
}

TEST(CausalLM, InitialLossIsThatOfAUniformGuess) {
  ModelConfig config = small_jamba();
  config.init.std = 1e-4;
  const TinyModel model(config, cpu_types(at::kFloat));
  const LossTerms terms = model->loss(token_row({1, 2, 3}), token_row({2, 3, 4}),
                                      Documents::whole_rows(1, 3, at::kCPU));
  EXPECT_NEAR(terms.nll_sum.item<double>() / 3, std::log(37.0), 1e-4);
}

TEST(CausalLM, Bf16StaysNearFp32) {
  const auto logits = [](at::ScalarType compute) {
    const TinyModel model(small_jamba(), StoreTypes{at::kFloat, compute, at::kCPU});
    return model->logits(token_row({1, 2, 3, 4, 5, 6, 7, 8}),
                         Documents::whole_rows(1, 8, at::kCPU));
  };
  const Tensor exact = logits(at::kFloat), rounded = logits(at::kBFloat16);
  EXPECT_EQ(rounded.scalar_type(), at::kFloat);
  const double error = ((exact - rounded).norm() / exact.norm()).item<double>();
  EXPECT_LT(error, 0.04);  // spec/models.md 18: about 1e-2, larger where routing flips
  EXPECT_GT(error, 0.0);
}

TEST(CausalLM, IgnoredTargetsAddNothing) {
  const TinyModel model(small_jamba());
  const Documents documents = Documents::whole_rows(1, 3, at::kCPU);
  const double all =
      model->loss(token_row({1, 2, 3}), token_row({2, 3, 4}), documents).nll_sum.item<double>();
  const double two =
      model->loss(token_row({1, 2, 3}), token_row({2, 3, -100}), documents).nll_sum.item<double>();
  const double last = model->loss(token_row({1, 2, 3}), token_row({-100, -100, 4}), documents)
                          .nll_sum.item<double>();
  EXPECT_NEAR(all, two + last, 1e-12);
  EXPECT_GT(last, 0.0);
}

TEST(CausalLM, RunsOneTokenAndNoRow) {
  const TinyModel model(small_jamba(), cpu_types(at::kFloat));
  EXPECT_EQ(model->logits(token_row({5}), Documents::whole_rows(1, 1, at::kCPU)).sizes(),
            at::IntArrayRef({1, 1, 37}));
  const Tensor none = token_row({5}).narrow(0, 0, 0);
  EXPECT_EQ(model->logits(none, Documents::whole_rows(0, 1, at::kCPU)).size(0), 0);
}

TEST(ParameterTable, DescribesALargeModelWithoutAllocatingIt) {
  ModelRecipe recipe;
  recipe.family = Family::kJamba;
  recipe.hidden_size = 8192;
  recipe.num_layers = 72;
  recipe.vocab_size = 65536;
  resolve(recipe);
  const ParameterTable table = parameter_table(build_config(recipe));
  EXPECT_GT(table.numel(), 100'000'000'000);  // 400 GB in fp32
  EXPECT_NE(table.find("layers.71.feed_forward.experts.down.weight"), nullptr);
}

// Of the lookup and of the head together: those that an untied model with the same values has
// apart.
TEST(CausalLM, ATiedEmbeddingHasTheGradientsOfBothUses) {
  const Tensor tokens = token_row({3, 1, 4, 1, 5, 9, 2, 6}), targets = tokens.roll(-1, 1);
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    const auto embedding_gradients = [&](bool tied) {
      ModelRecipe recipe = tiny_recipe(Family::kGpt2, 2);
      recipe.tie_embeddings = tied;
      TinyModel model(recipe, {at::kFloat, compute, at::kCPU});
      std::vector<Tensor> gradients;
      Tensor embedding;
      for (Parameter& p : model.store().parameters()) {
        if (p.spec->name == "embedding.weight") embedding = p.master;
        const bool is_head = p.spec->name == kHeadWeight;
        const at::NoGradGuard no_grad;
        if (is_head) p.master.copy_(embedding);
        if (is_head || p.master.is_same(embedding)) gradients.push_back(p.gradient);
      }
      model.store().refresh_compute();
      model->loss(tokens, targets, Documents::whole_rows(1, 8, at::kCPU)).loss.backward();
      model.store().check_gradients();
      return gradients;
    };
    const std::vector<Tensor> tied = embedding_gradients(true), apart = embedding_gradients(false);
    ASSERT_EQ(tied.size(), 1u);
    ASSERT_EQ(apart.size(), 2u);
    const Tensor expected = apart[0] + apart[1];
    EXPECT_GT(max_magnitude(apart[0]), 0);
    EXPECT_GT(max_magnitude(apart[1]), 0);
    EXPECT_LE(max_difference(tied[0], expected), 1e-6 * max_magnitude(expected));
  }
}

}  // namespace
}  // namespace weft
