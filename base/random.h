#pragma once
// Counter-based random numbers: a number is a function of what it is for (seed, purpose, name), the
// step and the element's index, never of who draws it or of call order. Philox4x32-10 (Salmon et al.,
// SC 2011); conventions of spec/parallel.md 12.
//
//   const RandomStream stream(seed, "init", "layers.3.mixer.q.weight");
//   stream.fill_normal(0, values);             // elements 0.. of the logical tensor
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace weft {

using PhiloxBlock = std::array<uint32_t, 4>;

// Ten rounds of Philox4x32 for one counter and key.
PhiloxBlock philox4x32(PhiloxBlock counter, std::array<uint32_t, 2> key);

// 64-bit FNV-1a of the bytes of `text`.
uint64_t fnv1a(std::string_view text);

class RandomStream final {
 public:
  // The stream for "seed:purpose:name"; `step` and `sample` are counter words 2 and 3.
  RandomStream(uint64_t seed, std::string_view purpose, std::string_view name, uint32_t step = 0,
               uint32_t sample = 0);

  // Word `index` of the stream.
  uint32_t word(uint64_t index) const;
  // Uniform in [0, 1) with 24 bits: (word >> 8) * 2^-24.
  double uniform(uint64_t index) const;
  // Uniform integer in [0, bound), unbiased enough for shuffles: the high half of word64 * bound.
  uint64_t below(uint64_t index, uint64_t bound) const;

  // Elements first, first+1, ... of the stream. Normal: Box-Muller on lanes (0,1) and (2,3) of a
  // block, in fp64, mean 0 and deviation 1.
  void fill_uniform(uint64_t first, std::span<double> out) const;
  void fill_normal(uint64_t first, std::span<double> out) const;

 private:
  PhiloxBlock block(uint64_t index) const;

  std::array<uint32_t, 2> key_;
  uint32_t step_;
  uint32_t sample_;
};

// A permutation of [0, size) as a function: position -> element, in O(1) memory, by cycle walking
// over a four-round Feistel network keyed with the stream's words. Equal for every rank and after a
// resume. Source: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002.
class Permutation final {
 public:
  Permutation(uint64_t size, const RandomStream& stream);
  uint64_t operator()(uint64_t position) const;  // REQUIRES: position < size
  uint64_t size() const { return size_; }

 private:
  uint64_t size_;
  int half_bits_;
  std::array<uint32_t, 8> keys_;
};

}  // namespace weft
