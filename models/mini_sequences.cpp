#include "models/mini_sequences.h"

#include <algorithm>
#include <cmath>

namespace weft {
namespace {

// A slice's products must stay well above what reading the weights for each takes.
constexpr int64_t kFewestRows = 1024;
constexpr int64_t kFewestSmallRows = 256;

// At least `fewest`, at most all tokens; products like multiples of 128 rows.
int64_t rounded(double rows, int64_t fewest, int64_t tokens) {
  constexpr double kMultiple = 128;
  const double up = std::ceil(rows / kMultiple) * kMultiple;
  const double most = static_cast<double>(std::max<int64_t>(1, tokens));
  return static_cast<int64_t>(std::min(most, std::max(static_cast<double>(fewest), up)));
}

int64_t fixed(const MiniSequences& mini_sequences, int64_t rows, int64_t tokens) {
  return std::max<int64_t>(1, mini_sequences.map.has_value() ? std::min(rows, tokens) : tokens);
}

// Whether rows follow from sizes, and then how many there are at least.
bool is_rule(const MiniSequences& mini_sequences) {
  return !mini_sequences.map.has_value() && mini_sequences.word != MiniSequenceRule::kNone;
}

int64_t fewest_rows(const MiniSequences& mini_sequences) {
  return mini_sequences.word == MiniSequenceRule::kSmall ? kFewestSmallRows : kFewestRows;
}

}  // namespace

int64_t head_rows(const MiniSequences& mini_sequences, int64_t tokens, int64_t hidden_size,
                  int64_t vocab_size, int64_t compute_bytes) {
  if (!is_rule(mini_sequences)) {
    return fixed(mini_sequences, mini_sequences.map.value_or(MiniSequenceRows{}).head_rows, tokens);
  }
  const double width = static_cast<double>(hidden_size * compute_bytes);
  const double logits = 10 * static_cast<double>(vocab_size);
  return rounded(static_cast<double>(tokens) * width / logits, fewest_rows(mini_sequences), tokens);
}

int64_t mlp_rows(const MiniSequences& mini_sequences, int64_t tokens, int64_t hidden_size,
                 int64_t intermediate_size) {
  if (!is_rule(mini_sequences)) {
    return fixed(mini_sequences, mini_sequences.map.value_or(MiniSequenceRows{}).mlp_rows, tokens);
  }
  const double ratio =
      static_cast<double>(hidden_size) / (4 * static_cast<double>(intermediate_size));
  const bool small = mini_sequences.word == MiniSequenceRule::kSmall;
  const int64_t fewest = std::max(small ? 0 : hidden_size, fewest_rows(mini_sequences));
  return rounded(static_cast<double>(tokens) * ratio, fewest, tokens);
}

}  // namespace weft
