#pragma once
// Causal attention in blocks, forward and backward, on the CPU: memory linear in the length, cost
// by the documents' lengths (arXiv:2205.14135 algorithm 1; arXiv:2307.08691 3.1).
#include <span>

#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"
#include "models/kernels/segment.h"

namespace weft {

// Whether block_attention takes heads like q [Bz, T, H, e] on this machine: fp32 or bf16 on a CPU
// whose units multiply these (AVX-512; for bf16 AVX-512 BF16 and even e).
bool has_block_attention(const Tensor& q);

// softmax(q k^T / sqrt(e)) v, causal inside each document; with `window` > 0 a token sees only the
// last `window` tokens, itself among them. q [Bz, T, H, e], k and v [Bz, T, KV, e] of its type ->
// [Bz, T, H, e]. KV divides H; the last dimension is dense, or copied. `documents` cover every
// token, row by row. Scores and sums are fp32; weights are rounded to the storage type for the
// products. Deterministic for any number of threads. REQUIRES: has_block_attention(q).
Tensor block_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                       std::span<const Segment> documents, int64_t window = 0,
                       cpu::Isa isa = cpu::best_isa());

}  // namespace weft
