#include "models/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/check.h"

namespace weft {
namespace {

struct Candidate {
  double logit;
  int64_t id;
};

bool comes_before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// Candidates by falling logit, ties by rising id, sorted no further than they are asked for: few of
// a large vocabulary share nearly all of the probability.
class Ranking {
 public:
  explicit Ranking(std::vector<Candidate> candidates) : candidates_(std::move(candidates)) {}

  const Candidate& operator[](size_t rank) {
    while (rank >= sorted_) sort_more();
    return candidates_[rank];
  }

 private:
  void sort_more() {
    const size_t end = std::min(candidates_.size(), std::max<size_t>(64, 8 * sorted_));
    const auto at = [&](size_t i) { return candidates_.begin() + static_cast<int64_t>(i); };
    if (end < candidates_.size()) {
      std::nth_element(at(sorted_), at(end), candidates_.end(), comes_before);
    }
    std::sort(at(sorted_), at(end), comes_before);
    sorted_ = end;
  }

  std::vector<Candidate> candidates_;
  size_t sorted_ = 0;
};

template <class Value>
std::vector<Candidate> candidates_of(std::span<const Value> logits) {
  std::vector<Candidate> candidates(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates[i] = {static_cast<double>(logits[i]), static_cast<int64_t>(i)};
  }
  return candidates;
}

// The largest of `count` values, or NaN if one is.
template <class Value>
Value largest_of(const Value* values, int64_t count) {
  constexpr int kLanes = 16;
  Value most[kLanes], nans[kLanes] = {};  // of every sixteenth value: the largest, how many NaN
  std::fill_n(most, kLanes, -std::numeric_limits<Value>::infinity());
  const auto take = [&](int lane, Value value) {
    most[lane] = value > most[lane] ? value : most[lane];
    nans[lane] += value != value ? Value{1} : Value{0};
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) take(lane, values[i + lane]);
  }
  for (; i < count; ++i) take(0, values[i]);
  if (std::any_of(nans, nans + kLanes, [](Value count) { return count > 0; })) {
    return std::numeric_limits<Value>::quiet_NaN();
  }
  return *std::max_element(most, most + kLanes);
}

// The first of the largest logits, if they are an order. Looked for in the first block that has it:
// most of a large vocabulary is read once.
template <class Value>
std::optional<int64_t> most_likely(std::span<const Value> logits) {
  constexpr size_t kBlock = 1024;
  Value largest = -std::numeric_limits<Value>::infinity();
  size_t block = 0;
  for (size_t i = 0; i < logits.size(); i += kBlock) {
    const auto values = logits.subspan(i, std::min(kBlock, logits.size() - i));
    const Value here = largest_of(values.data(), static_cast<int64_t>(values.size()));
    if (std::isnan(here)) return std::nullopt;
    if (here > largest) block = i;
    largest = std::max(largest, here);
  }
  if (!std::isfinite(largest)) return std::nullopt;
  return std::find(logits.begin() + static_cast<int64_t>(block), logits.end(), largest) -
         logits.begin();
}

// `best` is the largest logit: probabilities are in units of that of its token.
int64_t draw(std::vector<Candidate> candidates, double best, const SamplingConfig& config,
             double u) {
  const auto mass = [&](const Candidate& candidate) {
    return std::exp((candidate.logit - best) / config.temperature);
  };
  size_t count = candidates.size();
  double all = 0;
  const bool cut = config.top_k > 0 && config.top_k < static_cast<int64_t>(count);
  if (!cut) {
    for (const Candidate& candidate : candidates) all += mass(candidate);
  }
  Ranking ranking(std::move(candidates));
  if (cut) {
    count = static_cast<size_t>(config.top_k);
    for (size_t i = 0; i < count; ++i) all += mass(ranking[i]);
  }
  double kept = all;
  if (config.top_p < 1 || config.min_p > 0) {
    const size_t most = count;
    kept = mass(ranking[0]);
    for (count = 1; count < most && kept < config.top_p * all; ++count) {
      const double next = mass(ranking[count]);
      if (next < config.min_p) break;
      kept += next;
    }
  }
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    sum += mass(ranking[i]);
    if (u * kept < sum) return ranking[i].id;
  }
  return ranking[count - 1].id;
}

template <class Value>
std::optional<int64_t> sample(std::span<const Value> logits, const SamplingConfig& config,
                              double u) {
  const std::optional<int64_t> best = most_likely(logits);
  if (!best.has_value() || config.temperature == 0) return best;
  const auto largest = static_cast<double>(logits[static_cast<size_t>(*best)]);
  return draw(candidates_of(logits), largest, config, u);
}

// The row that is meant: of [rows, V] it must be named. Ends the program where there is none.
int64_t checked_row(const Tensor& logits, std::optional<int64_t> row) {
  const int64_t rows = logits.dim() == 2 ? logits.size(0) : 1, at = row.value_or(0);
  const bool is_one = row.has_value() ? logits.dim() == 2 : logits.dim() == 1;
  WEFT_CHECK(is_one && 0 <= at && at < rows && logits.size(-1) > 0, "row ", at, " of logits ",
             logits.sizes());
  const bool has_type = logits.scalar_type() == at::kFloat || logits.scalar_type() == at::kDouble;
  WEFT_CHECK(has_type && logits.is_cpu(), "logits are fp32 or fp64, on the CPU");
  return at;
}

template <class Value>
std::span<const Value> row_of(const Tensor& logits, int64_t row) {
  const int64_t size = logits.size(-1);
  return {logits.const_data_ptr<Value>() + row * size, static_cast<size_t>(size)};
}

template <class Value>
void penalize(std::span<Value> logits, std::span<const int64_t> tokens, Value penalty) {
  std::vector<bool> seen(logits.size());
  for (const int64_t token : tokens) {
    WEFT_CHECK(0 <= token && token < static_cast<int64_t>(logits.size()), "token ", token, " of ",
               logits.size());
    if (seen[token]) continue;
    seen[token] = true;
    Value& logit = logits[token];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

}  // namespace

std::optional<int64_t> sample_token(const Tensor& logits, const SamplingConfig& config, double u,
                                    std::optional<int64_t> row) {
  const int64_t at = checked_row(logits, row);
  // An operator that does nothing takes as long as a look at a thousand logits.
  const Tensor dense = logits.is_contiguous() ? logits : logits.detach().contiguous();
  if (dense.scalar_type() == at::kFloat) return sample(row_of<float>(dense, at), config, u);
  return sample(row_of<double>(dense, at), config, u);
}

void penalize_repetition(Tensor logits, std::span<const int64_t> tokens, double penalty,
                         std::optional<int64_t> row) {
  if (penalty == 1.0) return;
  const int64_t at = checked_row(logits, row);
  WEFT_CHECK(logits.is_contiguous(), "logits are contiguous");
  const int64_t size = logits.size(-1);
  const auto penalize_row = [&]<class Value>(Value* values) {
    penalize<Value>({values + at * size, static_cast<size_t>(size)}, tokens,
                    static_cast<Value>(penalty));
  };
  if (logits.scalar_type() == at::kFloat) {
    penalize_row(logits.data_ptr<float>());
  } else {
    penalize_row(logits.data_ptr<double>());
  }
}

}  // namespace weft
