#pragma once
// Rotary positions (arXiv:2104.09864) and their scaling to longer contexts (spec/models.md 5):
// linear, NTK-aware static and dynamic bases, Llama-3's, YaRN (arXiv:2309.00071).
#include <utility>
#include <vector>

#include "base/tensor.h"
#include "models/config.h"

namespace weft {

// inv_freq [e/2] in `type` (fp32 or fp64) on the CPU, for a sequence of `length` tokens (only
// `dynamic` depends on it). REQUIRES: a type other than kNone.
Tensor rope_frequencies(const RopeConfig& config, int64_t head_dim, int64_t length,
                        at::ScalarType type);

// Those that no length changes, each made once: decoding needs them at every token.
class RopeFrequencies final {
 public:
  // As rope_frequencies. REQUIRES: a type other than kDynamic.
  const Tensor& get(const RopeConfig& config, int64_t head_dim, at::ScalarType type);

 private:
  struct Made {
    RopeConfig config;
    int64_t head_dim;
    at::ScalarType type;
    Tensor frequencies;
  };
  std::vector<Made> made_;
};

// Cosines and sines of some positions, scaled by attention_factor.
struct Rotation {
  // [Bz, T, 1, e] in the type of what is rotated: channels j and j + e/2 have the same cosine, and
  // sines of opposite sign.
  Tensor cos, sin;

  // x [Bz, T, H, e]; channel j is paired with j + e/2.
  Tensor operator()(const Tensor& x) const;
};

// The rotations of one forward pass, each made once for all layers that use it.
class Rotations final {
 public:
  // positions [Bz, T] int64. lengths: of the sequence that each token belongs to, for `dynamic`:
  // [Bz, T] int64 or undefined, then one past the largest position. frequencies: kept for the next
  // pass, or null.
  explicit Rotations(Tensor positions, Tensor lengths = {}, RopeFrequencies* frequencies = nullptr)
      : positions_(std::move(positions)), lengths_(std::move(lengths)), frequencies_(frequencies) {}

  const Rotation& get(const RopeConfig& config, int64_t head_dim, at::ScalarType type);

  // Makes the rotations that were asked for, of one position a row, those of position t of each row
  // of `many`, in the same memory. On the CPU. REQUIRES: as many rows there; no type `dynamic`.
  void copy_from(Rotations& many, int64_t t);

 private:
  struct Made {
    RopeConfig config;
    int64_t head_dim;
    at::ScalarType type;
    Rotation rotation;
  };
  Tensor angles(const RopeConfig& config, int64_t head_dim, at::ScalarType type) const;

  Tensor positions_, lengths_;
  RopeFrequencies* frequencies_;
  std::vector<Made> made_;
};

}  // namespace weft
