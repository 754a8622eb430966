#include "base/random.h"

#include <bit>
#include <cmath>
#include <numbers>
#include <string>

#include "base/check.h"

namespace weft {

PhiloxBlock philox4x32(PhiloxBlock c, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    if (round > 0) {
      key[0] += 0x9E3779B9u;
      key[1] += 0xBB67AE85u;
    }
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(p0)};
  }
  return c;
}

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char byte : text) {
    hash ^= static_cast<unsigned char>(byte);
    hash *= 0x100000001b3u;
  }
  return hash;
}

RandomStream::RandomStream(uint64_t seed, std::string_view purpose, std::string_view name,
                           uint32_t step, uint32_t sample)
    : step_(step), sample_(sample) {
  std::string text = std::to_string(seed);
  text.append(":").append(purpose).append(":").append(name);
  const uint64_t hash = fnv1a(text);
  key_ = {static_cast<uint32_t>(hash), static_cast<uint32_t>(hash >> 32)};
}

PhiloxBlock RandomStream::block(uint64_t index) const {
  return philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), step_, sample_},
                    key_);
}

uint32_t RandomStream::word(uint64_t index) const { return block(index / 4)[index % 4]; }

double RandomStream::uniform(uint64_t index) const { return (word(index) >> 8) * 0x1.0p-24; }

uint64_t RandomStream::below(uint64_t index, uint64_t bound) const {
  const PhiloxBlock words = block(index);
  const uint64_t word64 = uint64_t{words[0]} << 32 | words[1];
  return static_cast<uint64_t>(static_cast<unsigned __int128>(word64) * bound >> 64);
}

void RandomStream::fill_uniform(uint64_t first, std::span<double> out) const {
  PhiloxBlock words{};
  for (uint64_t i = 0; i < out.size(); ++i) {
    const uint64_t index = first + i;
    if (i == 0 || index % 4 == 0) words = block(index / 4);
    out[i] = (words[index % 4] >> 8) * 0x1.0p-24;
  }
}

void RandomStream::fill_normal(uint64_t first, std::span<double> out) const {
  std::array<double, 4> values{};
  for (uint64_t i = 0; i < out.size(); ++i) {
    const uint64_t index = first + i;
    if (i == 0 || index % 4 == 0) {
      const PhiloxBlock words = block(index / 4);
      for (int pair = 0; pair < 4; pair += 2) {
        const double u = (words[pair] >> 8) * 0x1.0p-24;
        const double v = (words[pair + 1] >> 8) * 0x1.0p-24;
        const double radius = std::sqrt(-2.0 * std::log(1.0 - u));
        values[pair] = radius * std::cos(2.0 * std::numbers::pi * v);
        values[pair + 1] = radius * std::sin(2.0 * std::numbers::pi * v);
      }
    }
    out[i] = values[index % 4];
  }
}

Permutation::Permutation(uint64_t size, const RandomStream& stream) : size_(size) {
  WEFT_CHECK(size > 0, "a permutation of nothing");
  half_bits_ = (std::bit_width(size - 1) + 1) / 2;
  if (half_bits_ == 0) half_bits_ = 1;
  for (size_t i = 0; i < keys_.size(); ++i) keys_[i] = stream.word(i);
}

uint64_t Permutation::operator()(uint64_t position) const {
  WEFT_CHECK(position < size_, "position ", position, " of ", size_);
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t value = position;
  do {
    uint64_t left = value >> half_bits_;
    uint64_t right = value & mask;
    for (uint32_t round = 0; round < 4; ++round) {
      const PhiloxBlock mixed =
          philox4x32({static_cast<uint32_t>(right), static_cast<uint32_t>(right >> 32), round, 0},
                     {keys_[2 * round], keys_[2 * round + 1]});
      const uint64_t f = uint64_t{mixed[0]} << 32 | mixed[1];
      const uint64_t next = left ^ (f & mask);
      left = right;
      right = next;
    }
    value = left << half_bits_ | right;
  } while (value >= size_);
  return value;
}

}  // namespace weft
