#include "base/random.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace weft {
namespace {

// The Random123 library's known answers, spec/parallel.md 12.
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Fnv1a, GivesTheKnownAnswers) {
  EXPECT_EQ(fnv1a(""), 0xcbf29ce484222325u);
  EXPECT_EQ(fnv1a("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(fnv1a("foobar"), 0x85944171f73967e8u);
}

TEST(RandomStream, IsKeyedByTheHashOfSeedPurposeAndName) {
  const uint64_t hash = fnv1a("7:init:w");
  const PhiloxBlock block =
      philox4x32({2, 0, 11, 13}, {static_cast<uint32_t>(hash), static_cast<uint32_t>(hash >> 32)});
  const RandomStream stream(7, "init", "w", 11, 13);
  for (uint64_t lane = 0; lane < 4; ++lane) EXPECT_EQ(stream.word(8 + lane), block[lane]);
}

TEST(RandomStream, APieceHasTheElementsOfTheWhole) {
  const RandomStream stream(1, "init", "w");
  std::vector<double> whole(50), normals(50);
  stream.fill_uniform(0, whole);
  stream.fill_normal(0, normals);
  for (const size_t first : {0, 1, 2, 3, 4, 17}) {
    std::vector<double> piece(9), normal_piece(9);
    stream.fill_uniform(first, piece);
    stream.fill_normal(first, normal_piece);
    for (size_t i = 0; i < piece.size(); ++i) {
      EXPECT_EQ(piece[i], whole[first + i]);
      EXPECT_EQ(piece[i], stream.uniform(first + i));
      EXPECT_EQ(normal_piece[i], normals[first + i]);
    }
  }
}

// Bounds of six deviations of the sample mean and variance.
TEST(RandomStream, NormalsHaveMeanZeroAndDeviationOne) {
  constexpr size_t kCount = 100'000;
  std::vector<double> x(kCount);
  RandomStream(1, "init", "w").fill_normal(0, x);
  double sum = 0, squares = 0;
  for (const double value : x) {
    sum += value;
    squares += value * value;
  }
  EXPECT_LT(std::abs(sum / kCount), 6 / std::sqrt(kCount));
  EXPECT_LT(std::abs(squares / kCount - 1), 6 * std::sqrt(2.0 / kCount));
}

TEST(RandomStream, BelowStaysBelowAndReachesEveryValue) {
  const RandomStream stream(3, "data", "order");
  std::vector<int> counts(7);
  for (uint64_t i = 0; i < 700; ++i) ++counts.at(stream.below(i, 7));
  for (const int count : counts) EXPECT_GT(count, 50);
}

TEST(Permutation, VisitsEveryElementOnce) {
  for (const uint64_t size : {1, 2, 3, 4, 5, 16, 17, 97, 1025, 4096}) {
    const Permutation permutation(size, RandomStream(5, "data", "order"));
    std::vector<bool> seen(size);
    uint64_t in_place = 0;
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t element = permutation(i);
      ASSERT_LT(element, size);
      EXPECT_FALSE(seen[element]);
      seen[element] = true;
      in_place += element == i;
    }
    // Of a random permutation one element stays in place, on average.
    EXPECT_LT(in_place, 10u) << size;
  }
}

TEST(PermutationDeathTest, APositionBeyondTheEndIsAProgrammerError) {
  const Permutation permutation(5, RandomStream(5, "data", "order"));
  EXPECT_DEATH(permutation(5), "position 5 of 5");
}

}  // namespace
}  // namespace weft
