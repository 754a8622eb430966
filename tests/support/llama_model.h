#pragma once
// The llama of tests/parity/fixtures in the words of a recipe.

namespace weft {

inline constexpr char kLlamaModel[] = R"(model:
  family: llama
  vocab_size: 31
  hidden_size: 16
  num_layers: 2
  num_heads: 4
  num_kv_heads: 1
  head_dim: 4
  intermediate_size: 24
  max_position: 64
  tie_embeddings: false
  norm: {eps: 1.0e-5}
)";

}  // namespace weft
