#include "data/mixture.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace weft {
namespace {

constexpr int kShareBits = 48;
constexpr double kOne = static_cast<double>(uint64_t{1} << kShareBits);

// How many of the first `sequences` a source with this share takes. Integers, so that it rises by
// at most 1 a sequence however large the numbers get.
int64_t taken(int64_t sequences, uint64_t share) {
  return static_cast<int64_t>(static_cast<unsigned __int128>(sequences) * share >> kShareBits);
}

}  // namespace

Mixture::Mixture(const std::vector<double>& weights) {
  WEFT_CHECK(!weights.empty(), "no sources");
  const double largest = *std::max_element(weights.begin(), weights.end());
  shares_.resize(weights.size() - 1);
  double rest = 0;
  for (size_t i = weights.size(); i-- > 0;) {
    WEFT_CHECK(weights[i] > 0 && std::isfinite(weights[i]), "weight ", weights[i]);
    const double weight = weights[i] / largest;
    rest += weight;
    if (i + 1 == weights.size()) continue;
    // Up, so that a share such as 1/3 steps at 3, 6, ... and not one later.
    const double share = std::ceil(weight / rest * kOne);
    shares_[i] = static_cast<uint64_t>(std::clamp(share, 1.0, kOne - 1));
  }
}

Mixture::Place Mixture::operator()(int64_t sequence) const {
  WEFT_CHECK(sequence >= 0, "sequence ", sequence);
  for (size_t i = 0; i < shares_.size(); ++i) {
    const int64_t before = taken(sequence, shares_[i]);
    if (taken(sequence + 1, shares_[i]) > before) return {i, before};
    sequence -= before;
  }
  return {shares_.size(), sequence};
}

}  // namespace weft
