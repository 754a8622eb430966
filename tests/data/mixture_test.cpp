#include "data/mixture.h"

#include <cmath>

#include "gtest/gtest.h"

namespace weft {
namespace {

// How often each source is chosen among the first `sequences`, checking that its own sequences come
// in order without gaps.
std::vector<int64_t> count(const Mixture& mixture, size_t sources, int64_t sequences) {
  std::vector<int64_t> taken(sources, 0);
  for (int64_t q = 0; q < sequences; ++q) {
    const Mixture::Place place = mixture(q);
    EXPECT_EQ(place.index, taken[place.source]) << q;
    ++taken[place.source];
  }
  return taken;
}

TEST(Mixture, OneSourceIsTheIdentity) {
  const Mixture mixture({0.3});
  for (const int64_t q : {int64_t{0}, int64_t{5}, int64_t{1} << 50}) {
    EXPECT_EQ(mixture(q).source, 0u);
    EXPECT_EQ(mixture(q).index, q);
  }
}

TEST(Mixture, SharesAreExactWhereTheyAreWhole) {
  EXPECT_EQ(count(Mixture({3, 1}), 2, 4096), (std::vector<int64_t>{3072, 1024}));
  EXPECT_EQ(count(Mixture({1, 1, 2}), 3, 4096), (std::vector<int64_t>{1024, 1024, 2048}));
  EXPECT_EQ(count(Mixture({1, 2}), 2, 3 << 12), (std::vector<int64_t>{1 << 12, 2 << 12}));
}

TEST(Mixture, SharesHoldAtEveryPoint) {
  const std::vector<double> weights = {0.5, 2.25, 1e-3, 7.125, 0.1};
  double sum = 0;
  for (const double weight : weights) sum += weight;
  const Mixture mixture(weights);
  std::vector<int64_t> taken(weights.size(), 0);
  for (int64_t q = 0; q < 30000; ++q) {
    ++taken[mixture(q).source];
    for (size_t i = 0; i < weights.size(); ++i) {
      const double due = static_cast<double>(q + 1) * weights[i] / sum;
      ASSERT_LT(std::abs(static_cast<double>(taken[i]) - due), static_cast<double>(weights.size()))
          << "source " << i << " after " << q + 1;
    }
  }
  EXPECT_GE(taken[2], 2);
}

TEST(Mixture, ExtremeWeightsGiveEverySourceItsTurn) {
  const Mixture mixture({1e308, 1e308, 1e-300});
  const std::vector<int64_t> taken = count(mixture, 3, 1000);
  EXPECT_NEAR(static_cast<double>(taken[0]), 500, 3);
  EXPECT_NEAR(static_cast<double>(taken[1]), 500, 3);
  const Mixture::Place far = mixture((int64_t{1} << 62) + 12345);
  EXPECT_LT(far.source, 3u);
  EXPECT_GE(far.index, 0);
}

}  // namespace
}  // namespace weft
