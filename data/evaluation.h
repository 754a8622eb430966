#pragma once
// Held-out text as windows for evaluation, in the order of the shards; nothing is shuffled or
// dropped.
//
//   const EvaluationOrder order(shards, 1024, 0);
//   for (int64_t row = 0; row < order.num_rows(); row += 8)
//     add_loss(order.rows(row, std::min<int64_t>(8, order.num_rows() - row)));
#include <cstdint>
#include <limits>
#include <vector>

#include "data/batch.h"
#include "data/shards.h"

namespace weft {

// A document of n text tokens is [EOD, text] with targets [text, EOD]: n + 1 targets. It is cut
// into windows of T tokens, each a row that starts with a fresh state. The first window scores all
// its targets; each later one repeats the `context` tokens before its own and ignores their
// targets, so that every target is scored exactly once and, past the first window, sees at least
// `context` tokens.
class EvaluationOrder final {
 public:
  static constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

  // `max_tokens`: only the first that many targets (at least 1). `shards` must outlive this.
  // REQUIRES: 0 <= context < sequence_length.
  EvaluationOrder(const TokenShards& shards, int64_t sequence_length, int64_t context,
                  int64_t max_tokens = kAll);

  int64_t num_rows() const { return first_rows_.back(); }
  // Targets that are scored, over all rows.
  int64_t num_targets() const { return num_targets_; }

  // Rows first .. first + count - 1 as one Batch [count, T]. A short tail is padded with token 0
  // and kIgnoredTarget, as part of the row's last document. REQUIRES: within [0, num_rows()).
  Batch rows(int64_t first, int64_t count) const;
  // Of a batch's scored targets, how many are text: with the tokenizer `bytes`, bytes of it.
  int64_t text_bytes(const Batch& batch) const;

 private:
  // Of a row of a document: begin of its window, and of what it scores.
  struct Window {
    int64_t document;
    int64_t begin;
    int64_t scored_begin;
    int64_t end;
  };
  Window window(int64_t row) const;

  const TokenShards& shards_;
  int64_t sequence_length_;
  int64_t context_;
  std::vector<int64_t> targets_;     // [documents] targets that are scored
  std::vector<int64_t> first_rows_;  // [documents + 1]
  int64_t num_targets_ = 0;
};

}  // namespace weft
