#pragma once
// Causal attention of packed documents by LibTorch's flash kernels on a GPU (arXiv:2307.08691): no
// scores in memory, blocks that no query sees are skipped, key/value heads are shared in place
// forward (their gradients are one for each query head before they are summed).
#include "base/tensor.h"

namespace weft {

// Documents one behind the other.
struct PackedDocuments {
  Tensor boundaries;    // [documents + 1] int32 on the tokens' device: 0, the ends
  int64_t longest = 0;  // tokens
};

// Whether there are flash kernels for heads of this size: a multiple of 8, at most 256.
inline bool has_flash_width(int64_t head_dim) { return head_dim % 8 == 0 && head_dim <= 256; }

// Whether flash_attention takes heads like q [Bz, T, H, e]: bf16 on a GPU, of such a size.
bool has_flash_attention(const Tensor& q);

// softmax(q k^T / sqrt(e)) v, causal inside each document; with `window` > 0 a token sees only the
// last `window` tokens, itself among them. q [Bz, T, H, e], k and v [Bz, T, KV, e] of its type ->
// [Bz, T, H, e]. KV divides H. `documents` cover all Bz T tokens, row by row. Deterministic where
// LibTorch's deterministic algorithms are on. REQUIRES: has_flash_attention(q).
Tensor flash_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                       const PackedDocuments& documents, int64_t window = 0);

}  // namespace weft
