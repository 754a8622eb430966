#pragma once
// A model as data (design.md, rule 1): an embedding, a list of layers, a final norm and a head.
// What a recipe writes is in models/families.h; it is turned into this list before anything is
// built. Letters of shapes are those of spec/models.md 1.
#include <cstdint>
#include <variant>
#include <vector>

namespace weft {

enum class RopeType { kNone, kDefault };

struct RopeConfig {
  RopeType type = RopeType::kNone;
  double theta = 10000.0;
};

// Grouped-query attention (spec/models.md 6).
struct AttentionConfig {
  int64_t num_heads = 0;     // H
  int64_t num_kv_heads = 0;  // KV, divides H
  int64_t head_dim = 0;      // e
  bool bias = false;         // on q, k, v and o
  RopeConfig rope;
};

// Mamba-1 mixer (spec/models.md 9).
struct MambaConfig {
  int64_t inner_size = 0;   // di
  int64_t state_size = 0;   // N
  int64_t conv_kernel = 0;  // K
  int64_t dt_rank = 0;      // R
  bool conv_bias = true;
  bool proj_bias = false;
  bool inner_norms = false;  // Jamba's RMSNorms of dt, B and C
  double dt_min = 1e-3, dt_max = 0.1, dt_floor = 1e-4, dt_scale = 1.0;  // initial step sizes
};

// SwiGLU (spec/models.md 7).
struct MlpConfig {
  int64_t intermediate_size = 0;  // f
  bool bias = false;
};

// Dropless top-k mixture of SwiGLU experts (spec/models.md 8).
struct MoeConfig {
  int64_t num_experts = 0;        // E
  int64_t top_k = 0;              // k
  int64_t intermediate_size = 0;  // f of one expert
  bool renormalize = false;       // Mixtral true, Jamba false
  double aux_coef = 0.0;          // load-balancing loss, Switch form, per sequence
  double z_coef = 0.0;            // router z-loss
};

using MixerConfig = std::variant<AttentionConfig, MambaConfig>;
using FeedForwardConfig = std::variant<std::monostate, MlpConfig, MoeConfig>;  // monostate: none

struct LayerConfig {
  MixerConfig mixer;
  FeedForwardConfig feed_forward;
};

// How linear layers start: normal with deviation init_std (Llama, Jamba), outputs of mixer and feed
// forward scaled by 1/sqrt(2 L) when depth_scaled (GPT-2).
struct InitConfig {
  double std = 0.02;
  bool depth_scaled = false;
};

struct ModelConfig {
  int64_t vocab_size = 0;   // V
  int64_t hidden_size = 0;  // d
  double norm_eps = 1e-6;
  bool tie_embeddings = false;
  InitConfig init;
  std::vector<LayerConfig> layers;  // L
};

}  // namespace weft
