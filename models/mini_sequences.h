#pragma once
// How many tokens the feed-forward parts and the head take at once (Mini-Sequence Transformer,
// arXiv:2407.15892; spec/methods.md 1): both treat every token alone, so a slice after the other
// gives the same but for last bits, and only one slice's [rows, f] and [rows, V] values exist at a
// time.
#include <array>
#include <cstdint>

#include "base/schema.h"

namespace weft {

enum class MiniSequenceRule { kAuto, kSmall, kNone };
constexpr auto enum_names(MiniSequenceRule) {
  return std::array{EnumName{MiniSequenceRule::kAuto, "auto"},
                    EnumName{MiniSequenceRule::kSmall, "small"},
                    EnumName{MiniSequenceRule::kNone, "none"}};
}

struct MiniSequenceRows {
  int64_t mlp_rows = 0;
  int64_t head_rows = 0;

  static void describe(auto& self, auto& schema) {
    schema.field("mlp_rows", self.mlp_rows, required(within(1, 1e12)),
                 "tokens that a feed-forward part takes at once (of experts: rows, one for each "
                 "expert of a token); its activations are computed again in the backward pass");
    schema.field("head_rows", self.head_rows, required(within(1, 1e12)),
                 "tokens that the head and its loss take at once");
  }
  bool operator==(const MiniSequenceRows&) const = default;
};

using MiniSequences = WordOrMap<MiniSequenceRule, MiniSequenceRows>;

// Rows of a slice of `tokens` tokens, from 1 to max(1, tokens). Rule auto (spec/methods.md 1.5): a
// slice's logits, at 10 bytes each as plain operators need, resp. its four inner activations take
// about as much as the hidden states of all tokens; but never fewer rows than 1,024 (and, of
// feed-forward parts, hidden_size), so that the products stay bound by arithmetic. Rule small: the
// same, but never fewer than 256.
int64_t head_rows(const MiniSequences& mini_sequences, int64_t tokens, int64_t hidden_size,
                  int64_t vocab_size, int64_t compute_bytes);
int64_t mlp_rows(const MiniSequences& mini_sequences, int64_t tokens, int64_t hidden_size,
                 int64_t intermediate_size);

// `count` rows in as few slices as have at most `rows` each, their sizes as equal as can be, first
// the larger ones: f(first, size). Where `count` is a multiple of 64 and no more slices come of it,
// the sizes are too: products like them, and meet few shapes. REQUIRES: rows >= 1.
template <class F>
void for_each_slice(int64_t count, int64_t rows, const F& f) {
  constexpr int64_t kMultiple = 64;
  const int64_t slices = (count + rows - 1) / rows;
  const int64_t even = slices == 0 ? 0 : (count / kMultiple + slices - 1) / slices * kMultiple;
  const int64_t unit = count % kMultiple == 0 && even <= rows ? kMultiple : 1;
  const int64_t units = count / unit;
  for (int64_t i = 0, first = 0; i < slices; ++i) {
    const int64_t size = unit * (units / slices + (i < units % slices ? 1 : 0));
    f(first, size);
    first += size;
  }
}

}  // namespace weft
