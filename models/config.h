#pragma once
// A model as data (design.md, rule 1): an embedding, a list of layers, a final norm and a head.
// What a recipe writes is in models/model_recipe.h; it is turned into this list before anything is
// built (models/families.h). Letters of shapes are those of spec/models.md 1.
#include <cstdint>
#include <limits>
#include <variant>
#include <vector>

namespace weft {

enum class RopeType { kNone, kDefault, kLinear, kNtk, kDynamic, kLlama3, kYarn };

// Rotary positions and their scaling to longer contexts (spec/models.md 5 has each type's formula).
struct RopeConfig {
  RopeType type = RopeType::kNone;
  double theta = 10000.0;
  double factor = 1.0;                                   // s: linear, ntk, dynamic, llama3, yarn
  int64_t original_max_position = 0;                     // M, L0: dynamic, llama3, yarn
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  double beta_fast = 32.0, beta_slow = 1.0;              // yarn
  bool truncate = true;                                  // yarn: whole channel numbers
  double attention_factor = 1.0;                         // m: cos and sin are scaled by it

  bool operator==(const RopeConfig&) const = default;
};

// Grouped-query attention (spec/models.md 6).
struct AttentionConfig {
  int64_t num_heads = 0;       // H
  int64_t num_kv_heads = 0;    // KV, divides H
  int64_t head_dim = 0;        // e
  bool bias = false;           // on q, k, v and o
  bool qk_norm = false;        // RMSNorm of every head's q and k, before the rotation
  int64_t sliding_window = 0;  // W keys at most, the token's own among them; 0: all before it
  RopeConfig rope = {};

  bool operator==(const AttentionConfig&) const = default;
};

// Initial step sizes of a state-space mixer (spec/models.md 14).
struct StepSizeInit {
  double min = 1e-3, max = 0.1, floor = 1e-4;
  double scale = 1.0;  // of the initial dt projection (Mamba-1)

  bool operator==(const StepSizeInit&) const = default;
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
  StepSizeInit dt = {};

  bool operator==(const MambaConfig&) const = default;
};

// Mamba-2 mixer (spec/models.md 10).
struct Mamba2Config {
  int64_t num_heads = 0;     // Hs
  int64_t head_dim = 0;      // P; Hs P = di
  int64_t state_size = 0;    // N
  int64_t num_groups = 1;    // G, divides Hs
  int64_t conv_kernel = 0;   // K
  int64_t chunk_size = 256;  // Q: no result depends on it
  bool conv_bias = true;
  bool proj_bias = false;
  bool norm_before_gate = false;
  double dt_limit_low = 0.0;  // of dt after softplus
  double dt_limit_high = std::numeric_limits<double>::infinity();
  StepSizeInit dt = {};

  int64_t inner_size() const { return num_heads * head_dim; }                           // di
  int64_t conv_channels() const { return inner_size() + 2 * num_groups * state_size; }  // x, B, C

  bool operator==(const Mamba2Config&) const = default;
};

enum class Activation { kSilu, kGeluNew };

// Feed-forward part (spec/models.md 7): down(act(gate(x)) * up(x)), or down(act(up(x))) without
// gate.
struct MlpConfig {
  int64_t intermediate_size = 0;  // f
  bool gated = true;
  Activation activation = Activation::kSilu;
  bool bias = false;

  bool operator==(const MlpConfig&) const = default;
};

// kSwitch: per layer and sequence, 1 when balanced. kHf: over all layers and tokens of a forward
// pass together, top_k when balanced (spec/models.md 8).
enum class AuxForm { kSwitch, kHf };

// Dropless top-k mixture of SwiGLU experts (spec/models.md 8).
struct MoeConfig {
  int64_t num_experts = 0;        // E
  int64_t top_k = 0;              // k
  int64_t intermediate_size = 0;  // f of one expert
  bool renormalize = false;       // Mixtral true, Jamba false
  AuxForm aux_form = AuxForm::kSwitch;
  double aux_coef = 0.0;  // load-balancing loss
  double z_coef = 0.0;    // router z-loss

  bool operator==(const MoeConfig&) const = default;
};

using MixerConfig = std::variant<AttentionConfig, MambaConfig, Mamba2Config>;
using FeedForwardConfig = std::variant<std::monostate, MlpConfig, MoeConfig>;  // monostate: none

struct LayerConfig {
  MixerConfig mixer;
  FeedForwardConfig feed_forward;

  bool operator==(const LayerConfig&) const = default;
};

enum class NormType { kRms, kLayer };

struct NormConfig {
  NormType type = NormType::kRms;
  double eps = 1e-6;

  bool operator==(const NormConfig&) const = default;
};

// How weights start (spec/models.md 14 has the table). kNormal: GPT-2, Llama, Mixtral, Jamba, and
// hybrids. kOpenElm: by fan-in. kMamba: the original Mamba's. kHfMamba, kHfJamba: what transformers
// does instead.
enum class InitScheme { kNormal, kOpenElm, kMamba, kHfMamba, kHfJamba };

struct InitConfig {
  InitScheme scheme = InitScheme::kNormal;
  double std = 0.02;          // kNormal, kHfJamba: of all linear layers; of the embedding
  bool depth_scaled = false;  // outputs of mixer and feed forward / sqrt(2 L) (kHfMamba: sqrt(L))

  bool operator==(const InitConfig&) const = default;
};

struct ModelConfig {
  int64_t vocab_size = 0;         // V
  int64_t hidden_size = 0;        // d
  int64_t learned_positions = 0;  // rows of a learned position embedding (GPT-2); 0: none
  int64_t padding_id = -1;        // its embedding starts at 0 and learns from no lookup; -1: none
  NormConfig norm = {};
  bool tie_embeddings = false;
  bool residual_fp32 = false;  // the residual stream stays in fp32 where the rest is bf16
  InitConfig init = {};
  std::vector<LayerConfig> layers = {};  // L

  bool operator==(const ModelConfig&) const = default;
};

}  // namespace weft
