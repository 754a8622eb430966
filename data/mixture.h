#pragma once
// Which source each sequence of a stage comes from.
#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft {

// Shares the sequences 0, 1, ... among the sources in proportion to their weights, evenly: after
// any number q of sequences source i has had q * weight_i / sum to within the number of sources.
// Random access in O(sources), nothing stored: source 0 takes sequence q where floor(q * share)
// steps, what it leaves over is shared among the others in the same way.
class Mixture final {
 public:
  // REQUIRES: at least one weight, all above 0 and finite.
  explicit Mixture(const std::vector<double>& weights);

  struct Place {
    size_t source;
    int64_t index;  // sequences that the source gave before
  };
  Place operator()(int64_t sequence) const;  // REQUIRES: sequence >= 0

 private:
  std::vector<uint64_t> shares_;  // [sources - 1] of source i among sources i.., in units of 2^-48
};

}  // namespace weft
