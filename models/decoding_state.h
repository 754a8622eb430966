#pragma once
// What a model remembers of the tokens that it has seen, so that the next ones cost no
// recomputation (spec/models.md 16): keys and values, convolution windows, states of the scans.
// What a model gives with a state is what it gives for the whole sequence, but for rope `dynamic`
// beyond its original context: there the rotation of every token depends on how many there are, and
// what was kept has been computed with fewer.
//
//   DecodingState state = model.new_state(/*rows=*/1, /*capacity=*/prompt + 256);
//   Tensor hidden = model.extend(prompt_tokens, state);   // prefill, in one pass or several
//   hidden = model.extend(next_token, state);             // then a token at a time
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "base/tensor.h"
#include "models/config.h"
#include "models/rope.h"

namespace weft {

struct AttentionState {
  // [Bz, KV, slots, e]. The token at position p of its row is in slot p; with a sliding window of W
  // tokens there are W slots, and it is in slot p mod W. Keys are rotated, but for rope `dynamic`,
  // whose angles change with every token.
  Tensor k, v;
};

struct ScanState {
  Tensor window;  // [Bz, K - 1, channels] the convolution's last inputs, in the compute type
  Tensor h;       // Mamba-1 [Bz, di, N], Mamba-2 [Bz, Hs, P, N], in fp32 (fp64)
  Tensor a;  // Mamba-1 [di, N] as h: the layer's -exp(a_log), once a single token has asked for it
};

using LayerState = std::variant<AttentionState, ScanState>;

class TokenPlan;

struct DecodingState {
  std::vector<LayerState> layers;
  std::vector<int64_t> lengths;     // [Bz] tokens that each row has seen
  int64_t capacity = 0;             // tokens that a row may have in all
  RopeFrequencies frequencies;      // of the layers that rotate, without a plan
  std::shared_ptr<TokenPlan> plan;  // models/token_plan.h; of the last token, or none

  int64_t rows() const { return static_cast<int64_t>(lengths.size()); }
};

// Zeros: no row has seen a token.
DecodingState new_decoding_state(const ModelConfig& config, int64_t rows, int64_t capacity,
                                 at::ScalarType compute, at::Device device);

// Rows first .. first + count - 1 as a state that shares their memory: a model that extends it may
// write there, or give it new tensors (put_rows copies those back).
DecodingState narrow_rows(const DecodingState& state, int64_t first, int64_t count);
// Makes the rows of `part` those of `state` from row `first` on. What narrow_rows gave for these
// rows and what was written there is in place already and is not copied. REQUIRES: states of one
// model and one capacity; `part` shares no memory with other rows that are written to.
void put_rows(DecodingState part, int64_t first, DecodingState& state);
// Zeros again, in the same memory: no row has seen a token, and weights may have changed.
void clear(DecodingState& state);

// Bytes of the state of one row with `length` tokens, keys, values and windows taking `width` bytes
// a value, scan states at least 4.
struct StateBytes {
  double keys_and_values = 0;
  double scan = 0;    // windows and states: the same for every length
  double shared = 0;  // ScanState::a: once, however many rows there are
};
StateBytes state_bytes(const ModelConfig& config, int64_t length, int width);

// Positions of the next `count` tokens of rows with `lengths` tokens before them: [Bz, count] int64
// on the CPU.
Tensor next_positions(const std::vector<int64_t>& lengths, int64_t count);

// What all layers share while rows that go on from a state get their next tokens.
struct NewTokens {
  int64_t count = 0;                    // T new tokens of every row
  const std::vector<int64_t>& lengths;  // [Bz] tokens before them
  Tensor starts;                        // [Bz, T] bool: false
  Rotations rotations;

  bool same_lengths() const;
};

}  // namespace weft
