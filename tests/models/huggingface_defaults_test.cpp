// What stands for a member that config.json does not have.
#include <gtest/gtest.h>

#include "tests/models/huggingface_configs.h"

namespace weft {
namespace {

TEST(HfConfigDefaults, OfLlamaAreThoseOfItsClass) {
  const ModelConfig config = built(smallest("llama"));
  EXPECT_EQ(config.norm.eps, 1e-6);
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_EQ(config.padding_id, -1);
  EXPECT_EQ(attention(config).num_kv_heads, 2);
  EXPECT_EQ(attention(config).head_dim, 8);
  EXPECT_FALSE(attention(config).bias);
  EXPECT_EQ(attention(config).rope.type, RopeType::kDefault);
  EXPECT_EQ(attention(config).rope.theta, 1e4);
  EXPECT_FALSE(std::get<MlpConfig>(config.layers[0].feed_forward).bias);
  EXPECT_EQ(*read_config(smallest("llama")).model.max_position, 2048);
}

TEST(HfConfigDefaults, OfMixtralAreThoseOfItsClass) {
  const ModelConfig config = built(smallest("mixtral"));
  EXPECT_EQ(config.norm.eps, 1e-5);
  EXPECT_EQ(attention(config).num_kv_heads, 8);
  EXPECT_EQ(attention(config).sliding_window, 0);
  EXPECT_EQ(attention(config).rope.theta, 1e6);
  EXPECT_EQ(std::get<MoeConfig>(config.layers[0].feed_forward),
            (MoeConfig{.num_experts = 8,
                       .top_k = 2,
                       .intermediate_size = 24,
                       .renormalize = true,
                       .aux_form = AuxForm::kHf}));
  EXPECT_EQ(*read_config(smallest("mixtral")).model.max_position, 131072);
}

TEST(HfConfigDefaults, OfJambaAreThoseOfItsClass) {
  Json json = smallest("jamba");
  json["num_hidden_layers"] = 13;
  const ModelConfig config = built(json);
  EXPECT_EQ(config.norm.eps, 1e-6);
  EXPECT_EQ(config.padding_id, 0);
  for (size_t i = 0; i < 13; ++i) {
    const LayerConfig& layer = config.layers[i];
    EXPECT_EQ(std::holds_alternative<AttentionConfig>(layer.mixer), i % 8 == 4) << i;
    EXPECT_EQ(std::holds_alternative<MoeConfig>(layer.feed_forward), i % 2 == 1) << i;
  }
  EXPECT_EQ(attention(config, 4).num_kv_heads, 8);
  EXPECT_EQ(std::get<MambaConfig>(config.layers[0].mixer), (MambaConfig{.inner_size = 32,
                                                                        .state_size = 16,
                                                                        .conv_kernel = 4,
                                                                        .dt_rank = 1,
                                                                        .inner_norms = true}));
  const MoeConfig& moe = std::get<MoeConfig>(config.layers[1].feed_forward);
  EXPECT_EQ(moe.num_experts, 16);
  EXPECT_EQ(moe.top_k, 2);
  EXPECT_EQ(moe.aux_coef, 0);
  EXPECT_EQ(*read_config(json).model.max_position, 262144);
  EXPECT_EQ(built(changed("jamba", {{"pad_token_id", nullptr}})).padding_id, -1);
}

TEST(HfConfigDefaults, OfGpt2AreThoseOfItsClass) {
  const ModelConfig config = built(smallest("gpt2"));
  EXPECT_EQ(config.learned_positions, 1024);
  EXPECT_EQ(config.norm.eps, 1e-5);
  EXPECT_TRUE(config.tie_embeddings);
  EXPECT_EQ(std::get<MlpConfig>(config.layers[0].feed_forward).intermediate_size, 64);
}

TEST(HfConfigDefaults, OfMambaAreThoseOfItsClass) {
  const ModelConfig config = built(smallest("mamba"));
  EXPECT_EQ(config.norm.eps, 1e-5);
  EXPECT_TRUE(config.tie_embeddings);
  EXPECT_TRUE(config.residual_fp32);
  EXPECT_EQ(std::get<MambaConfig>(config.layers[0].mixer),
            (MambaConfig{.inner_size = 32, .state_size = 16, .conv_kernel = 4, .dt_rank = 1}));
}

TEST(HfConfigDefaults, OfMamba2AreThoseOfItsClass) {
  const ModelConfig config = built(smallest("mamba2"));
  EXPECT_EQ(config.norm.eps, 1e-5);
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_EQ(
      std::get<Mamba2Config>(config.layers[0].mixer),
      (Mamba2Config{
          .num_heads = 128, .head_dim = 64, .state_size = 128, .num_groups = 8, .conv_kernel = 4}));
}

TEST(HfConfigDefaults, OfOpenElmAreThoseOfItsClass) {
  const ModelConfig config = built(smallest("openelm"));
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_EQ(attention(config).num_heads, 1);
  EXPECT_EQ(attention(config).num_kv_heads, 1);
  EXPECT_EQ(attention(config).head_dim, 64);
  EXPECT_FALSE(attention(config).qk_norm);
  EXPECT_EQ(attention(config).rope.theta, 1e4);
  EXPECT_EQ(std::get<MlpConfig>(config.layers[0].feed_forward).intermediate_size, 256);
  EXPECT_EQ(*read_config(smallest("openelm")).model.max_position, 2048);
}

// A default stands for an absent member; null means "as many as query heads" in every class.
TEST(HfConfigDefaults, KeyValueHeadsThatAreNullAreAsManyAsQueryHeads) {
  for (const char* family : {"llama", "mixtral", "jamba"}) {
    const Json json = changed(
        family,
        {{"num_key_value_heads", nullptr}, {"num_attention_heads", 16}, {"hidden_size", 64}});
    EXPECT_EQ(*read_config(json).model.num_kv_heads, 16) << family;
  }
}

TEST(HfConfigDefaults, RanksThatAreAutoAreASixteenthRoundedUp) {
  const Json wide = {{"hidden_size", 40}, {"intermediate_size", 80}, {"time_step_rank", "auto"}};
  EXPECT_EQ(*read_config(changed("mamba", wide)).model.mamba.dt_rank, 3);
  EXPECT_EQ(*read_config(changed("jamba", {{"mamba_dt_rank", "auto"}})).model.mamba.dt_rank, 1);
  EXPECT_EQ(refusal("mamba", {{"time_step_rank", "most"}}),
            "time_step_rank: is \"most\", must be a whole number");
}

TEST(HfConfigDefaults, TheBalanceLossIsOnOnlyWhereRouterLogitsAre) {
  const auto coefficient = [](const Json& members) {
    return read_config(changed("mixtral", members)).model.moe.aux_coef;
  };
  EXPECT_EQ(coefficient({{"router_aux_loss_coef", 0.5}}), 0.5);
  EXPECT_EQ(coefficient({{"router_aux_loss_coef", 0.5}, {"output_router_logits", false}}), 0);
  EXPECT_EQ(coefficient({{"router_aux_loss_coef", nullptr}}), 0.001);
}

}  // namespace
}  // namespace weft
