// config.json of published models, with the members that theirs have: each is read without a
// complaint and gives the parameters of its checkpoint (spec/models.md 11, 15).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/causal_lm.h"
#include "tests/models/huggingface_configs.h"

namespace weft {
namespace {

using testing::IsEmpty;

constexpr char kGpt2[] = R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"],
  "activation_function": "gelu_new", "attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1,
  "bos_token_id": 50256, "eos_token_id": 50256, "initializer_range": 0.02,
  "layer_norm_epsilon": 1e-05, "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12,
  "n_positions": 1024, "n_special": 0, "predict_special_tokens": true, "output_past": true,
  "summary_activation": null, "summary_first_dropout": 0.1, "summary_proj_to_labels": true,
  "summary_type": "cls_index", "summary_use_proj": true,
  "task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}},
  "vocab_size": 50257})";

constexpr char kSmolLm135m[] = R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"],
  "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 0,
  "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.02, "intermediate_size": 1536,
  "is_llama_config": true, "max_position_embeddings": 2048, "num_attention_heads": 9,
  "num_hidden_layers": 30, "num_key_value_heads": 3, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
  "rope_interleaved": false, "rope_scaling": null, "rope_theta": 10000.0,
  "tie_word_embeddings": true, "torch_dtype": "float32", "use_cache": true,
  "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}},
  "vocab_size": 49152})";

constexpr char kTinyLlama[] = R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"],
  "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 2048,
  "initializer_range": 0.02, "intermediate_size": 5632, "max_position_embeddings": 2048,
  "num_attention_heads": 32, "num_hidden_layers": 22, "num_key_value_heads": 4,
  "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null,
  "tie_word_embeddings": false, "torch_dtype": "float32", "use_cache": true,
  "vocab_size": 32000})";

constexpr char kLlama2[] = R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"],
  "_name_or_path": "meta-llama/Llama-2-7b-hf", "bos_token_id": 1, "eos_token_id": 2,
  "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
  "intermediate_size": 11008, "max_position_embeddings": 4096, "num_attention_heads": 32,
  "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1,
  "rms_norm_eps": 1e-05, "rope_scaling": null, "tie_word_embeddings": false,
  "torch_dtype": "float16", "use_cache": true, "vocab_size": 32000})";

constexpr char kLlama31[] = R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"],
  "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
  "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu", "hidden_size": 4096,
  "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 131072,
  "mlp_bias": false, "num_attention_heads": 32, "num_hidden_layers": 32,
  "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
  "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                   "original_max_position_embeddings": 8192, "rope_type": "llama3"},
  "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
  "use_cache": true, "vocab_size": 128256})";

constexpr char kMixtral[] = R"({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"],
  "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
  "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
  "max_position_embeddings": 32768, "num_attention_heads": 32, "num_experts_per_tok": 2,
  "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8,
  "output_router_logits": false, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0,
  "router_aux_loss_coef": 0.02, "sliding_window": null, "tie_word_embeddings": false,
  "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 32000})";

constexpr char kMamba130m[] = R"({"model_type": "mamba", "architectures": ["MambaForCausalLM"],
  "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "conv_kernel": 4, "d_inner": 1536,
  "d_model": 768, "expand": 2, "fused_add_norm": true, "hidden_act": "silu", "hidden_size": 768,
  "initializer_range": 0.1, "intermediate_size": 1536, "layer_norm_epsilon": 1e-05,
  "n_layer": 24, "num_hidden_layers": 24, "pad_vocab_size_multiple": 8,
  "rescale_prenorm_residual": false, "residual_in_fp32": true, "rms_norm": true, "ssm_cfg": {},
  "state_size": 16, "time_step_floor": 0.0001, "time_step_init_scheme": "random",
  "time_step_max": 0.1, "time_step_min": 0.001, "time_step_rank": 48, "time_step_scale": 1.0,
  "torch_dtype": "float32", "use_bias": false, "use_cache": true, "use_conv_bias": true,
  "vocab_size": 50280})";

constexpr char kCodestral[] = R"({"model_type": "mamba2", "architectures": ["Mamba2ForCausalLM"],
  "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "chunk_size": 256, "conv_kernel": 4,
  "expand": 2, "head_dim": 64, "hidden_act": "silu", "hidden_size": 4096,
  "initializer_range": 0.1, "intermediate_size": 8192, "layer_norm_epsilon": 1e-05,
  "n_groups": 8, "norm_before_gate": true, "num_heads": 128, "num_hidden_layers": 64,
  "rescale_prenorm_residual": false, "residual_in_fp32": true, "rms_norm": true,
  "state_size": 128, "tie_word_embeddings": false, "time_step_floor": 0.0001,
  "time_step_init_scheme": "random", "time_step_limit": [0.0, Infinity], "time_step_max": 0.1,
  "time_step_min": 0.001, "time_step_rank": 256, "torch_dtype": "bfloat16", "use_bias": false,
  "use_cache": true, "use_conv_bias": true, "vocab_size": 32768})";

constexpr char kJamba[] = R"({"model_type": "jamba", "architectures": ["JambaForCausalLM"],
  "attention_dropout": 0.0, "attn_layer_offset": 4, "attn_layer_period": 8,
  "auto_map": {"AutoModelForCausalLM": "modeling_jamba.JambaForCausalLM"}, "bos_token_id": 1,
  "eos_token_id": 2, "pad_token_id": 0, "expert_layer_offset": 1, "expert_layer_period": 2,
  "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
  "intermediate_size": 14336, "mamba_conv_bias": true, "mamba_d_conv": 4, "mamba_d_state": 16,
  "mamba_dt_rank": 256, "mamba_expand": 2, "mamba_inner_layernorms": true,
  "mamba_proj_bias": false, "n_ctx": 262144, "num_attention_heads": 32, "num_experts": 16,
  "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8,
  "num_logits_to_keep": 1, "output_router_logits": false, "rms_norm_eps": 1e-06,
  "router_aux_loss_coef": 0.001, "sliding_window": null, "tie_word_embeddings": false,
  "torch_dtype": "bfloat16", "use_cache": true, "use_mamba_kernels": true,
  "vocab_size": 65536})";

constexpr char kOpenElm270m[] = R"({"model_type": "openelm",
  "architectures": ["OpenELMForCausalLM"],
  "auto_map": {"AutoConfig": "configuration_openelm.OpenELMConfig"},
  "activation_fn_name": "swish", "bos_token_id": 1, "eos_token_id": 2, "ffn_dim_divisor": 256,
  "ffn_multipliers": [0.5, 0.73, 0.97, 1.2, 1.43, 1.67, 1.9, 2.13,
                      2.37, 2.6, 2.83, 3.07, 3.3, 3.53, 3.77, 4.0],
  "ffn_with_glu": true, "head_dim": 64, "initializer_range": 0.02, "max_context_length": 2048,
  "model_dim": 1280, "normalization_layer_name": "rms_norm", "normalize_qk_projections": true,
  "num_gqa_groups": 4, "num_kv_heads": [3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5],
  "num_query_heads": [12, 12, 12, 12, 12, 16, 16, 16, 16, 16, 16, 16, 20, 20, 20, 20],
  "num_transformer_layers": 16, "qkv_multipliers": [0.5, 1.0], "rope_freq_constant": 10000,
  "rope_max_length": 4096, "share_input_output_layers": true, "torch_dtype": "float32",
  "use_cache": true, "vocab_size": 32000})";

struct Published {
  const char* name;
  const char* config;
  int64_t parameters;
};
constexpr Published kPublished[] = {{"Gpt2", kGpt2, 124'439'808},
                                    {"SmolLm135m", kSmolLm135m, 134'515'008},
                                    {"TinyLlama", kTinyLlama, 1'100'048'384},
                                    {"Llama2", kLlama2, 6'738'415'616},
                                    {"Llama31", kLlama31, 8'030'261'248},
                                    {"Mixtral", kMixtral, 46'702'792'704},
                                    {"Mamba130m", kMamba130m, 129'135'360},
                                    {"Codestral", kCodestral, 7'285'403'648},
                                    {"Jamba", kJamba, 51'570'323'328},
                                    {"OpenElm270m", kOpenElm270m, 271'527'168}};

class PublishedConfig : public testing::TestWithParam<Published> {};

TEST_P(PublishedConfig, GivesTheParametersOfItsCheckpoint) {
  const auto config = read_hf_config(GetParam().config, "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  // GPT-2 alone was trained with dropout, which weft tells of.
  if (config->model.family != Family::kGpt2) {
    EXPECT_THAT(config->warnings, IsEmpty());
  }
  int64_t parameters = 0;
  const ParameterTable table = parameter_table(build_config(config->model));
  for (const ParameterSpec& row : table.rows()) {
    int64_t count = 1;
    for (const int64_t size : row.shape) count *= size;
    parameters += count;
  }
  EXPECT_EQ(parameters, GetParam().parameters);
  EXPECT_EQ(check_exportable(config->model), absl::OkStatus());
}

INSTANTIATE_TEST_SUITE_P(All, PublishedConfig, testing::ValuesIn(kPublished),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace weft
