#pragma once
// What each family's config.json has, member by member, in the words of transformers' config
// classes (spec/models.md 12). One list serves both directions (members.h). Defaults are those of
// the classes: what transformers takes where the file is silent.
#include <algorithm>
#include <limits>

#include "models/huggingface/members.h"
#include "models/model_recipe.h"

namespace weft {

// Members of every config that say nothing of what is computed.
template <class V>
void common_members(V& v) {
  v.ignored({"architectures",
             "model_type",
             "torch_dtype",
             "dtype",
             "transformers_version",
             "_name_or_path",
             "name_or_path",
             "auto_map",
             "use_cache",
             "return_dict",
             "output_hidden_states",
             "output_attentions",
             "id2label",
             "label2id",
             "num_labels",
             "problem_type",
             "task_specific_params",
             "tokenizer_class",
             "prefix",
             "torchscript",
             "finetuning_task",
             "is_decoder",
             "layer_types"});
  v.ignored({"bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id",
             "forced_bos_token_id", "forced_eos_token_id"});
  v.ignored({"max_length",
             "min_length",
             "do_sample",
             "early_stopping",
             "num_beams",
             "num_beam_groups",
             "diversity_penalty",
             "temperature",
             "top_k",
             "top_p",
             "typical_p",
             "repetition_penalty",
             "length_penalty",
             "no_repeat_ngram_size",
             "encoder_no_repeat_ngram_size",
             "bad_words_ids",
             "num_return_sequences",
             "output_scores",
             "return_dict_in_generate",
             "suppress_tokens",
             "begin_suppress_tokens",
             "exponential_decay_length_penalty",
             "remove_invalid_values"});
  v.ignored({"chunk_size_feed_forward", "tf_legacy_loss", "use_bfloat16"});
  v.fixed("is_encoder_decoder", false);
  v.fixed("add_cross_attention", false);
}

// Key/value heads, absent or null: `otherwise`, or as many as query heads.
template <class V>
void kv_heads_member(V& v, ModelRecipe& m, std::optional<int64_t> otherwise) {
  if constexpr (V::kReads) {
    if (v.take("num_key_value_heads") == nullptr) {
      const bool absent = !v.contains("num_key_value_heads") && otherwise.has_value();
      m.num_kv_heads = absent ? *otherwise : m.num_heads.value_or(1);
      return;
    }
  }
  v.member("num_key_value_heads", m.num_kv_heads);
}

// rope_parameters (transformers 5), or rope_theta and rope_scaling (before).
void rope_members(MemberReader& v, ModelRecipe& m, double default_theta);
void rope_members(MemberWriter& v, ModelRecipe& m, double default_theta);

// The padding token's row; absent: `otherwise`, null: none.
template <class V>
void pad_member(V& v, ModelRecipe& m, std::optional<int64_t> otherwise) {
  if constexpr (V::kReads) {
    if (!v.contains("pad_token_id") && otherwise.has_value()) {
      m.pad_token_id = *otherwise;
      return;
    }
  }
  v.optional("pad_token_id", m.pad_token_id);
}

template <class V>
void size_members(V& v, ModelRecipe& m) {
  v.member("vocab_size", m.vocab_size);
  v.member("hidden_size", m.hidden_size);
  v.member("num_hidden_layers", m.num_layers);
}

// What the decoders made after Llama's pattern have in common; the defaults that differ.
struct DecoderDefaults {
  std::optional<int64_t> num_kv_heads;  // none: as many as query heads
  int64_t max_position;
  double norm_eps;
  std::optional<int64_t> pad_token_id;  // none: no padding
};
template <class V>
void decoder_members(V& v, ModelRecipe& m, const DecoderDefaults& defaults) {
  size_members(v, m);
  v.member("intermediate_size", m.intermediate_size);
  v.member("num_attention_heads", m.num_heads);
  kv_heads_member(v, m, defaults.num_kv_heads);
  v.member("max_position_embeddings", m.max_position, defaults.max_position);
  v.member("rms_norm_eps", m.norm.eps, defaults.norm_eps);
  v.member("tie_word_embeddings", m.tie_embeddings, false);
  v.member("initializer_range", m.init.std, 0.02);
  pad_member(v, m, defaults.pad_token_id);
  v.fixed("hidden_act", "silu");
  v.training_only("attention_dropout");
}

template <class V>
void llama_members(V& v, ModelRecipe& m) {
  decoder_members(v, m, {std::nullopt, 2048, 1e-6, std::nullopt});
  v.optional("head_dim", m.head_dim);
  v.member("attention_bias", m.attention.bias, false);
  v.member("mlp_bias", m.mlp.bias, false);
  rope_members(v, m, 10000.0);
  v.fixed("rope_interleaved", false);
  v.ignored({"is_llama_config", "transformers.js_config", "pretraining_tp"});
}

// The load-balancing loss: on only where the config says output_router_logits.
template <class V>
void router_members(V& v, ModelRecipe& m) {
  bool on = m.moe.aux_coef > 0;
  double coefficient = m.moe.aux_coef;
  v.member("output_router_logits", on, false);
  v.member("router_aux_loss_coef", coefficient, 0.001);
  m.moe.aux = AuxForm::kHf;
  m.moe.aux_coef = on ? coefficient : 0.0;
}

template <class V>
void mixtral_members(V& v, ModelRecipe& m) {
  decoder_members(v, m, {8, 131072, 1e-5, std::nullopt});
  v.optional("head_dim", m.head_dim);
  v.member("num_local_experts", m.moe.num_experts, 8);
  v.member("num_experts_per_tok", m.moe.top_k, 2);
  OrNone<int64_t> window;
  if (m.attention.sliding_window > 0) window = m.attention.sliding_window;
  v.optional("sliding_window", window);
  m.attention.sliding_window = window.value_or(0);
  router_members(v, m);
  rope_members(v, m, 1e6);
  v.training_only("router_jitter_noise");
}

// A rank that may be the word "auto": ceil(hidden_size / 16).
template <class V>
void dt_rank_member(V& v, const char* name, ModelRecipe& m) {
  if constexpr (V::kReads) {
    const Json* value = v.take(name);
    if (value == nullptr || *value == Json("auto")) {
      m.mamba.dt_rank = (m.hidden_size + 15) / 16;
      return;
    }
  }
  v.member(name, m.mamba.dt_rank);
}

template <class V>
void jamba_members(V& v, ModelRecipe& m) {
  decoder_members(v, m, {8, 262144, 1e-6, 0});
  v.member("attn_layer_period", m.layout.attention_period, 8);
  v.member("attn_layer_offset", m.layout.attention_offset, 4);
  if constexpr (!V::kReads) {
    if (*m.layout.moe_period == 0) {
      m.layout.moe_period = m.num_layers + 1;
      m.layout.moe_offset = m.num_layers;
    }
  }
  v.member("expert_layer_period", m.layout.moe_period, 2);
  v.member("expert_layer_offset", m.layout.moe_offset, 1);
  v.member("num_experts", m.moe.num_experts, 16);
  v.member("num_experts_per_tok", m.moe.top_k, 2);
  if (m.moe.num_experts == 1) m.moe.top_k = 1;  // no experts: there is nothing to choose
  v.member("mamba_d_state", m.mamba.state_size, 16);
  v.member("mamba_d_conv", m.mamba.conv_kernel, 4);
  v.member("mamba_expand", m.mamba.expand, 2);
  dt_rank_member(v, "mamba_dt_rank", m);
  v.member("mamba_conv_bias", m.mamba.conv_bias, true);
  v.member("mamba_proj_bias", m.mamba.proj_bias, false);
  router_members(v, m);
  v.fixed("sliding_window", nullptr);
  v.ignored({"num_logits_to_keep", "use_mamba_kernels", "use_mambapy", "use_associative_scan",
             "mamba_inner_layernorms", "calc_logits_for_entire_prompt", "n_ctx"});
}

template <class V>
void gpt2_members(V& v, ModelRecipe& m) {
  v.member("vocab_size", m.vocab_size);
  v.member("n_embd", m.hidden_size);
  v.member("n_layer", m.num_layers);
  v.member("n_head", m.num_heads);
  v.member("n_positions", m.max_position, 1024);
  v.member("n_inner", m.intermediate_size, 4 * m.hidden_size);
  v.member("layer_norm_epsilon", m.norm.eps, 1e-5);
  v.member("tie_word_embeddings", m.tie_embeddings, true);
  v.member("initializer_range", m.init.std, 0.02);
  v.fixed("activation_function", "gelu_new");
  v.fixed("scale_attn_weights", true);
  v.fixed("scale_attn_by_inverse_layer_idx", false);
  v.fixed("reorder_and_upcast_attn", false);
  v.training_only("attn_pdrop");
  v.training_only("resid_pdrop");
  v.training_only("embd_pdrop");
  v.ignored({"n_special", "predict_special_tokens", "output_past"});
  v.ignored({"n_ctx", "summary_type", "summary_use_proj", "summary_activation",
             "summary_proj_to_labels", "summary_first_dropout", "pad_token_id"});
}

// Of Mamba-1 and Mamba-2 alike; `mixer` is m.mamba or m.mamba2.
template <class V, class Mixer>
void state_space_members(V& v, ModelRecipe& m, Mixer& mixer) {
  v.member("conv_kernel", mixer.conv_kernel, 4);
  v.member("use_bias", mixer.proj_bias, false);
  v.member("use_conv_bias", mixer.conv_bias, true);
  v.member("layer_norm_epsilon", m.norm.eps, 1e-5);
  v.member("residual_in_fp32", m.residual_fp32, true);
  v.member("time_step_min", mixer.dt.min, 0.001);
  v.member("time_step_max", mixer.dt.max, 0.1);
  v.member("time_step_floor", mixer.dt.floor, 1e-4);
  v.fixed("hidden_act", "silu");
  v.ignored({"intermediate_size", "time_step_init_scheme", "rescale_prenorm_residual",
             "initializer_range", "pad_token_id", "max_position_embeddings"});
}

template <class V>
void mamba_members(V& v, ModelRecipe& m) {
  size_members(v, m);
  v.member("state_size", m.mamba.state_size, 16);
  v.member("expand", m.mamba.expand, 2);
  dt_rank_member(v, "time_step_rank", m);
  v.member("time_step_scale", m.mamba.dt.scale, 1.0);
  v.member("tie_word_embeddings", m.tie_embeddings, true);
  state_space_members(v, m, m.mamba);
  v.ignored({"use_mambapy", "use_associative_scan", "n_layer", "d_model", "d_inner",
             "fused_add_norm", "rms_norm", "ssm_cfg", "pad_vocab_size_multiple"});
}

// time_step_limit: [low, high], whose high may be {"__float__": "Infinity"}.
void dt_limit_member(MemberReader& v, ModelRecipe& m);
void dt_limit_member(MemberWriter& v, ModelRecipe& m);

template <class V>
void mamba2_members(V& v, ModelRecipe& m) {
  size_members(v, m);
  v.member("state_size", m.mamba2.state_size, 128);
  v.member("expand", m.mamba2.expand, 2);
  v.member("head_dim", m.mamba2.head_dim, 64);
  int64_t heads = m.mamba2.expand * m.hidden_size / std::max<int64_t>(1, m.mamba2.head_dim);
  v.member("num_heads", heads, 128);
  if constexpr (V::kReads) {
    if (heads * m.mamba2.head_dim != m.mamba2.expand * m.hidden_size) {
      v.problem("num_heads", absl::StrCat("is ", heads,
                                          ", but num_heads * head_dim must be expand "
                                          "* hidden_size"));
    }
  }
  v.member("n_groups", m.mamba2.num_groups, 8);
  v.member("chunk_size", m.mamba2.chunk_size, 256);
  v.member("tie_word_embeddings", m.tie_embeddings, false);
  state_space_members(v, m, m.mamba2);
  dt_limit_member(v, m);
  v.fixed("rms_norm", true);
  v.ignored({"norm_before_gate", "time_step_rank"});  // nothing depends on them
}

void openelm_members(MemberReader& v, ModelRecipe& m);
void openelm_members(MemberWriter& v, ModelRecipe& m);

}  // namespace weft
