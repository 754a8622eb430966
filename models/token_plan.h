#pragma once
// How a model takes the next token of each row on the CPU: the work of all its layers and the head,
// prepared once and done for token after token. Whatever is prepared anew for a token (shapes,
// checks, tensors, a dispatcher's code) comes from memory, as the weights have driven it out of the
// caches, and no weight is read meanwhile: for each layer that took some 20 us, in all a tenth of a
// token's time with 100 M parameters. All of it is one run of stages, so threads are started and
// joined once a token.
#include <memory>
#include <vector>

#include "base/tensor.h"
#include "models/block.h"
#include "models/decoding_state.h"

namespace weft {

class TokenPlan final {
 public:
  // The parts of a model, which outlive its plans.
  struct Parts {
    Tensor embedding;  // [V, d]
    const std::vector<Block>& blocks;
    const Norm& final_norm;
    Tensor head;            // [V, d] in the compute type
    at::ScalarType stream;  // of the residual stream
  };

  // Null if the model has no kernels for that: see Block::can_decode and Norm::can_decode.
  static std::shared_ptr<TokenPlan> make(const Parts& parts, DecodingState& state);

  TokenPlan(const TokenPlan&) = delete;
  TokenPlan& operator=(const TokenPlan&) = delete;

  // Whether this is a plan of that model for `state`: its tensors are the same, whatever is in
  // them.
  bool fits(const Parts& parts, const DecodingState& state) const;

  // What the model makes of the next token of each row, tokens [Bz, 1] int64, behind the last
  // layer: the residual stream [Bz, 1, d], in memory that the next call writes to. Brings `state`
  // up to date. REQUIRES: fits() it.
  Tensor advance(const Tensor& tokens, DecodingState& state);
  // The same, and then the logits [Bz, V] in the wide type. Once nobody has them or a part of them,
  // the next call writes there.
  Tensor logits(const Tensor& tokens, DecodingState& state);

 private:
  TokenPlan(const Parts& parts, const Tensor& x, DecodingState& state);
  void run(const Tensor& tokens, DecodingState& state, bool with_head);
  // Embeddings, rotations and lengths for these tokens.
  void prepare(const Tensor& tokens, const DecodingState& state);

  const Parts parts_;
  const int64_t threads_;         // that there is memory for
  const Tensor x_;                // [Bz, 1, d]
  std::vector<int64_t> lengths_;  // before the token
  RopeFrequencies frequencies_;
  NewTokens tokens_;
  Rotations ahead_;  // of the tokens from ahead_lengths_ on
  std::vector<int64_t> ahead_lengths_;
  Tensor logits_;  // of the last token; of the last token
  void* logits_memory_ = nullptr;
  cpu::Scratch scratch_;
  std::vector<cpu::StagedWorkPtr> layers_;
  cpu::StagedWorkPtr head_;
  std::vector<Tensor> tensors_;  // of the state
};

}  // namespace weft
