// What the members of each family's config.json mean, one by one.
#include <gtest/gtest.h>

#include "tests/models/huggingface_configs.h"

namespace weft {
namespace {

TEST(HfConfigFamilies, LlamaIsReadFromItsMembers) {
  const LayerConfig layer{
      AttentionConfig{.num_heads = 4,
                      .num_kv_heads = 1,
                      .head_dim = 4,
                      .rope = {.type = RopeType::kDefault, .original_max_position = 64}},
      MlpConfig{.intermediate_size = 24}};
  EXPECT_EQ(built(fixture_config("llama")), (ModelConfig{.vocab_size = 31,
                                                         .hidden_size = 16,
                                                         .norm = {NormType::kRms, 1e-5},
                                                         .layers = {layer, layer}}));
  EXPECT_EQ(*read_config(fixture_config("llama")).model.max_position, 64);
}

TEST(HfConfigFamilies, Gpt2IsReadFromItsMembers) {
  const LayerConfig layer{
      AttentionConfig{.num_heads = 3,
                      .num_kv_heads = 3,
                      .head_dim = 5,
                      .bias = true,
                      .rope = {.type = RopeType::kNone, .original_max_position = 16}},
      MlpConfig{.intermediate_size = 60,
                .gated = false,
                .activation = Activation::kGeluNew,
                .bias = true}};
  EXPECT_EQ(built(fixture_config("gpt2")), (ModelConfig{.vocab_size = 31,
                                                        .hidden_size = 15,
                                                        .learned_positions = 16,
                                                        .norm = {NormType::kLayer, 1e-5},
                                                        .tie_embeddings = true,
                                                        .init = {.std = 0.02, .depth_scaled = true},
                                                        .layers = {layer, layer}}));
}

TEST(HfConfigFamilies, MixtralIsReadFromItsMembers) {
  const LayerConfig layer{
      AttentionConfig{
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 4,
          .rope = {.type = RopeType::kDefault, .theta = 1e6, .original_max_position = 64}},
      MoeConfig{.num_experts = 4,
                .top_k = 2,
                .intermediate_size = 20,
                .renormalize = true,
                .aux_form = AuxForm::kHf,
                .aux_coef = 0.02}};
  EXPECT_EQ(built(fixture_config("mixtral")), (ModelConfig{.vocab_size = 31,
                                                           .hidden_size = 16,
                                                           .norm = {NormType::kRms, 1e-5},
                                                           .layers = {layer, layer}}));
  const Json windowed = changed("mixtral", {{"sliding_window", 7}});
  EXPECT_EQ(attention(built(windowed)).sliding_window, 7);
}

TEST(HfConfigFamilies, JambaIsReadFromItsMembers) {
  const MambaConfig mamba{
      .inner_size = 32, .state_size = 9, .conv_kernel = 4, .dt_rank = 7, .inner_norms = true};
  const MoeConfig moe{.num_experts = 3,
                      .top_k = 2,
                      .intermediate_size = 12,
                      .aux_form = AuxForm::kHf,
                      .aux_coef = 0.02};
  const AttentionConfig attention{.num_heads = 4,
                                  .num_kv_heads = 2,
                                  .head_dim = 4,
                                  .rope = {.type = RopeType::kNone, .original_max_position = 64}};
  EXPECT_EQ(built(fixture_config("jamba")),
            (ModelConfig{
                .vocab_size = 31,
                .hidden_size = 16,
                .padding_id = 0,
                .norm = {NormType::kRms, 1e-6},
                .layers = {
                    {mamba, moe}, {attention, MlpConfig{.intermediate_size = 12}}, {mamba, moe}}}));
}

TEST(HfConfigFamilies, MambaIsReadFromItsMembers) {
  const LayerConfig layer{
      MambaConfig{.inner_size = 32, .state_size = 5, .conv_kernel = 4, .dt_rank = 1},
      std::monostate{}};
  EXPECT_EQ(built(fixture_config("mamba")), (ModelConfig{.vocab_size = 31,
                                                         .hidden_size = 16,
                                                         .norm = {NormType::kRms, 1e-5},
                                                         .tie_embeddings = true,
                                                         .residual_fp32 = true,
                                                         .init = {.scheme = InitScheme::kMamba},
                                                         .layers = {layer, layer}}));
}

TEST(HfConfigFamilies, Mamba2IsReadFromItsMembers) {
  const LayerConfig layer{Mamba2Config{.num_heads = 4,
                                       .head_dim = 8,
                                       .state_size = 5,
                                       .num_groups = 2,
                                       .conv_kernel = 4,
                                       .chunk_size = 4},
                          std::monostate{}};
  EXPECT_EQ(built(fixture_config("mamba2")), (ModelConfig{.vocab_size = 31,
                                                          .hidden_size = 16,
                                                          .norm = {NormType::kRms, 1e-5},
                                                          .tie_embeddings = true,
                                                          .residual_fp32 = true,
                                                          .init = {.scheme = InitScheme::kMamba},
                                                          .layers = {layer, layer}}));
}

// Multipliers 0.5, 0.75, 1 and 0.5, 2.25, 4 of 16, rounded to multiples of 8.
TEST(HfConfigFamilies, OpenElmIsReadFromItsMembers) {
  const auto layer = [](int64_t heads, int64_t width) {
    return LayerConfig{
        AttentionConfig{.num_heads = heads,
                        .num_kv_heads = heads / 2,
                        .head_dim = 4,
                        .qk_norm = true,
                        .rope = {.type = RopeType::kDefault, .original_max_position = 64}},
        MlpConfig{.intermediate_size = width}};
  };
  EXPECT_EQ(built(fixture_config("openelm")),
            (ModelConfig{.vocab_size = 31,
                         .hidden_size = 16,
                         .norm = {NormType::kRms, 1e-6},
                         .tie_embeddings = true,
                         .init = {.scheme = InitScheme::kOpenElm},
                         .layers = {layer(2, 8), layer(4, 40), layer(4, 64)}}));
}

}  // namespace
}  // namespace weft
