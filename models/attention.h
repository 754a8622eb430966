#pragma once
// Grouped-query causal attention over packed documents (spec/models.md 6; arXiv:2305.13245), with
// or without rotary positions (arXiv:2104.09864; spec/models.md 5).
#include <string>

#include "base/tensor.h"
#include "models/config.h"
#include "models/documents.h"
#include "models/linear.h"

namespace weft {

class Attention final {
 public:
  // The rows "<prefix>.{q,k,v,o}.{weight,bias}".
  static void declare(const ModelConfig& model, const AttentionConfig& config,
                      const std::string& prefix, ParameterTable& table);
  Attention(const AttentionConfig& config, const ParameterStore& store, const std::string& prefix);

  // x [Bz, T, d] -> [Bz, T, d]; a token sees the tokens up to itself of its own document.
  Tensor forward(const Tensor& x, const Documents& documents) const;

 private:
  AttentionConfig config_;
  Linear q_, k_, v_, o_;
};

// softmax(q k^T / sqrt(e)) v, causal inside each document. q [Bz, T, H, e], k and v [Bz, T, KV, e]
// -> [Bz, T, H, e]. Cost follows the documents' lengths, not the row's.
Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const Documents& documents);

// Rotates x [Bz, T, H, e] by the angles of positions [Bz, T]; channel j is paired with j + e/2.
Tensor apply_rope(const Tensor& x, const Tensor& positions, const RopeConfig& config);

}  // namespace weft
