#pragma once
// Layer-wise scaling: query heads and feed-forward widths that grow from layer to layer (OpenELM,
// arXiv:2404.14619; spec/models.md 11).
#include <cstdint>
#include <vector>

namespace weft {

// The multiple of `divisor` that is nearest to `value`, raised by one where it lies more than a
// tenth below it; at least `divisor`.
int64_t make_divisible(double value, int64_t divisor);

// The value of layer `i` of `n`: one of a list of n, the only one, or on the line between two,
// rounded to two decimals (ties to even). REQUIRES: 1, 2 or n values.
double layerwise_value(const std::vector<double>& values, int64_t i, int64_t n);

// Query heads of layer `i`: alpha_i * hidden_size rounded to whole groups of heads, over head_dim.
struct LayerwiseHeads {
  int64_t hidden_size, head_dim, group;  // group: query heads of a key/value head
};
int64_t layerwise_heads(const LayerwiseHeads& shape, const std::vector<double>& qkv, int64_t i,
                        int64_t n);

}  // namespace weft
