#pragma once
// How many tokens the feed-forward parts and the head take at once (Mini-Sequence Transformer,
// arXiv:2407.15892; spec/methods.md 1): both treat every token alone, so a slice after the other
// gives the same, and only one slice's [rows, f] and [rows, V] values exist at a time.
#include <array>
#include <cstdint>

#include "base/schema.h"

namespace weft {

enum class MiniSequenceRule { kAuto, kNone };
constexpr auto enum_names(MiniSequenceRule) {
  return std::array{EnumName{MiniSequenceRule::kAuto, "auto"},
                    EnumName{MiniSequenceRule::kNone, "none"}};
}

struct MiniSequenceRows {
  int64_t mlp_rows = 0;
  int64_t head_rows = 0;

  static void describe(auto& self, auto& schema) {
    schema.field("mlp_rows", self.mlp_rows, required(within(1, 1e12)),
                 "tokens that a feed-forward part takes at once, of an expert's those that it is "
                 "given; its activations are computed again in the backward pass");
    schema.field("head_rows", self.head_rows, required(within(1, 1e12)),
                 "tokens that the head and its loss take at once");
  }
  bool operator==(const MiniSequenceRows&) const = default;
};

using MiniSequences = WordOrMap<MiniSequenceRule, MiniSequenceRows>;

// Rows of a slice of `tokens` tokens, from 1 to max(1, tokens). Rule auto: logits, resp. inner
// activations, about as large as the hidden states, but never fewer than the products need to be
// bound by arithmetic (spec/methods.md 1.5).
int64_t head_rows(const MiniSequences& mini_sequences, int64_t tokens, int64_t hidden_size,
                  int64_t vocab_size, int64_t compute_bytes);
int64_t mlp_rows(const MiniSequences& mini_sequences, int64_t tokens, int64_t hidden_size,
                 int64_t intermediate_size);

// `count` rows in as few slices as have at most `rows` each, their sizes as equal as can be, first
// the larger ones: f(first, size). Where `count` is a multiple of 64 and `rows` allows it, the
// sizes are too: products like them, and meet few shapes. REQUIRES: rows >= 1.
template <class F>
void for_each_slice(int64_t count, int64_t rows, const F& f) {
  constexpr int64_t kMultiple = 64;
  const int64_t unit = count % kMultiple == 0 && rows >= kMultiple ? kMultiple : 1;
  const int64_t units = count / unit, most = rows / unit;
  const int64_t slices = (units + most - 1) / most;
  for (int64_t i = 0, first = 0; i < slices; ++i) {
    const int64_t size = unit * (units / slices + (i < units % slices ? 1 : 0));
    f(first, size);
    first += size;
  }
}

}  // namespace weft
