#pragma once
// Grouped-query causal attention over packed documents (spec/models.md 6; arXiv:2305.13245), with
// or without rotary positions, norms of q and k, and a sliding window.
#include <string>

#include "base/tensor.h"
#include "models/config.h"
#include "models/decoding_state.h"
#include "models/documents.h"
#include "models/forward_pass.h"
#include "models/kernels/attention_step.h"
#include "models/kernels/cpu/scratch.h"
#include "models/kernels/cpu/stages.h"
#include "models/linear.h"

namespace weft {

class Attention final {
 public:
  // The rows "<prefix>.{q,k,v,o}.{weight,bias}" and, with qk_norm, "<prefix>.{q,k}_norm.weight".
  static void declare(const ModelConfig& model, const AttentionConfig& config,
                      const std::string& prefix, ParameterTable& table);
  Attention(const AttentionConfig& config, double norm_eps, const ParameterStore& store,
            const std::string& prefix);

  // x [Bz, T, d] -> [Bz, T, d]; a token sees the tokens up to itself of its own document.
  Tensor forward(const Tensor& x, const ForwardPass& pass) const;
  // The same for the next T tokens of rows that go on from `state`, which gets their keys and
  // values. No gradients. REQUIRES: T = 1, or rows of equal lengths; room in `state`.
  Tensor extend(const Tensor& x, NewTokens& tokens, AttentionState& state) const;
  // Whether there are kernels for a single token on the CPU: not for rope `dynamic`.
  bool can_decode() const { return config_.rope.type != RopeType::kDynamic; }
  // x [Bz, 1, d] += the same of norm(x), as work for one token of each row after the other, on the
  // CPU and without gradients. It reads `tokens` (lengths and rotations) and `state` where they are
  // now. x: dense, in the compute type or the wider one. REQUIRES: can_decode().
  cpu::StagedWorkPtr decoding_work(const RmsNormWeights& norm, NewTokens& tokens,
                                   AttentionState& state, const Tensor& x,
                                   cpu::Scratch& scratch) const;

 private:
  struct Heads {
    Tensor q, k, v;  // [Bz, T, H, e], [Bz, T, KV, e] twice
  };
  Heads project(const Tensor& x) const;
  // q or k normalised, where this attention has norms, and turned, where `rotation` isn't null.
  Tensor placed(const Tensor& heads, const Tensor& norm, const Rotation* rotation) const;
  // Null without rotary positions.
  const Rotation* rotation_of(Rotations& rotations, at::ScalarType type) const;
  AttentionStep step_of(const Heads& heads, NewTokens& tokens, const AttentionState& state) const;
  Tensor one_token(const Heads& heads, const NewTokens& tokens, AttentionState& state) const;
  Tensor many_tokens(const Heads& heads, const NewTokens& tokens, AttentionState& state) const;
  Tensor rotate_cached(const Tensor& k, const NewTokens& tokens) const;

  AttentionConfig config_;
  double norm_eps_;
  Linear q_, k_, v_;
  Linear qkv_;  // the three in one
  Linear o_;
  Tensor q_norm_, k_norm_;  // [e]
};

// Whether causal_attention on this CPU runs in blocks of its own in this type
// (models/kernels/block_attention.h).
bool has_cpu_attention(at::ScalarType type);

// Whether it runs in flash kernels on a GPU in bf16, for heads of this size
// (models/kernels/flash_attention.h).
bool has_gpu_attention(int64_t head_dim);

// softmax(q k^T / sqrt(e)) v, causal inside each document; with `window` > 0 a token sees only the
// last `window` tokens, itself among them. q [Bz, T, H, e], k and v [Bz, T, KV, e] -> [Bz, T, H,
// e]. Cost follows the documents' (and the window's) lengths, not the row's. Shared heads are never
// repeated; where LibTorch's own kernels are called, their gradients are one for each query head.
Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const Documents& documents, int64_t window = 0);

}  // namespace weft
