#pragma once
// Less memory for more time: what a model keeps between its forward and its backward pass.
#include <array>
#include <cstdint>

#include "base/schema.h"
#include "models/mini_sequences.h"

namespace weft {

enum class Recompute { kNone, kSelective, kBlock };
constexpr auto enum_names(Recompute) {
  return std::array{EnumName{Recompute::kNone, "none"},
                    EnumName{Recompute::kSelective, "selective"},
                    EnumName{Recompute::kBlock, "block"}};
}

struct MemoryConfig {
  MiniSequences mini_sequences = {};
  Recompute recompute = Recompute::kNone;
  int64_t recompute_every = 1;
  bool offload = false;

  // Whether layer `index` is computed again in the backward pass.
  bool recomputes(size_t index) const {
    return recompute != Recompute::kNone && static_cast<int64_t>(index) % recompute_every == 0;
  }

  static void describe(auto& self, auto& schema) {
    schema.field("mini_sequences", self.mini_sequences, any(),
                 "how many tokens feed-forward parts and the head take at once: the fewer, the "
                 "less memory. The head's slices cost little time, those of feed-forward parts a "
                 "second forward pass of theirs. auto: so many that a slice's values take about "
                 "as much as the hidden states of all tokens, but at least 1024 (for "
                 "feed-forward parts: and at least hidden_size), and small where that does not fit "
                 "into memory; small: the same rule, but at least 256; none: all of a "
                 "micro-batch, the fastest where memory allows it");
    schema.field(
        "recompute", self.recompute, any(),
        "block: of a layer its input alone is kept for the backward pass, where the "
        "layer is computed again; selective: also the results of its matrix products "
        "and of attention (on a GPU: in bf16), so that only what is cheap is computed again "
        "(and experts in slices). The numbers stay the same");
    schema.field("recompute_every", self.recompute_every, within(1, 10000),
                 "recompute takes every n-th layer, from the first on, and keeps the others");
    schema.field("offload", self.offload, any(),
                 "with device cuda and recompute block: the inputs that are kept of layers go to "
                 "the host's memory and come back a layer ahead, beside the computation");
  }
};

}  // namespace weft
