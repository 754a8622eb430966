#include "data/evaluation.h"

#include <algorithm>

#include "base/check.h"
#include "data/packing.h"

namespace weft {
namespace {

int64_t windows_of(int64_t targets, int64_t length, int64_t stride) {
  if (targets == 0) return 0;
  return targets <= length ? 1 : 1 + (targets - length + stride - 1) / stride;
}

}  // namespace

EvaluationOrder::EvaluationOrder(const TokenShards& shards, int64_t sequence_length,
                                 int64_t context, int64_t max_tokens)
    : shards_(shards), sequence_length_(sequence_length), context_(context) {
  WEFT_CHECK(0 <= context && context < sequence_length, "context ", context, " of ",
             sequence_length);
  WEFT_CHECK(max_tokens >= 1, "at most ", max_tokens, " tokens");
  first_rows_.push_back(0);
  for (int64_t document = 0; document < shards.num_documents(); ++document) {
    const int64_t text = shards.text_tokens(document);
    const int64_t targets = text == 0 ? 0 : std::min(text + 1, max_tokens - num_targets_);
    targets_.push_back(targets);
    num_targets_ += targets;
    first_rows_.push_back(first_rows_.back() +
                          windows_of(targets, sequence_length, sequence_length - context));
  }
}

int64_t EvaluationOrder::text_bytes(const Batch& batch) const {
  const auto* targets = batch.targets.const_data_ptr<int64_t>();
  return std::count_if(targets, targets + batch.targets.numel(), [&](int64_t id) {
    return id != kIgnoredTarget && id != shards_.end_of_document();
  });
}

EvaluationOrder::Window EvaluationOrder::window(int64_t row) const {
  const auto after = std::upper_bound(first_rows_.begin(), first_rows_.end(), row);
  const int64_t document = after - first_rows_.begin() - 1;
  const int64_t inside = row - first_rows_[document];
  const int64_t begin = inside * (sequence_length_ - context_);
  return {.document = document,
          .begin = begin,
          .scored_begin = inside == 0 ? 0 : begin + context_,
          .end = std::min(begin + sequence_length_, targets_[document])};
}

Batch EvaluationOrder::rows(int64_t first, int64_t count) const {
  WEFT_CHECK(0 <= first && 0 <= count && count <= num_rows() - first, "rows ", first, " and ",
             count, " on, of ", num_rows());
  const auto length = static_cast<size_t>(sequence_length_);
  Batch batch = make_batch(count, sequence_length_);
  auto* all_tokens = batch.tokens.mutable_data_ptr<int64_t>();
  auto* all_targets = batch.targets.mutable_data_ptr<int64_t>();
  auto* documents = batch.documents.mutable_data_ptr<int32_t>();
  auto* positions = batch.positions.mutable_data_ptr<int64_t>();
  // [EOD, text, EOD] from the window's begin on: its tokens and, one later, its targets.
  std::vector<int64_t> piece(length + 1);
  for (int64_t row = 0; row < count; ++row) {
    const Window w = window(first + row);
    const int64_t text = shards_.text_tokens(w.document);
    const size_t used = static_cast<size_t>(w.end - w.begin);
    std::fill(piece.begin(), piece.end(), shards_.end_of_document());
    const int64_t from = std::max<int64_t>(w.begin - 1, 0);
    const int64_t to = std::min(w.end, text);
    shards_.read(w.document, from, to, std::span(piece).subspan(w.begin == 0 ? 1 : 0));

    const size_t offset = static_cast<size_t>(row) * length;
    int64_t* tokens = all_tokens + offset;
    int64_t* targets = all_targets + offset;
    std::fill_n(tokens, length, 0);
    std::fill_n(targets, length, kIgnoredTarget);
    std::copy_n(piece.begin(), used, tokens);
    const auto skipped = static_cast<size_t>(w.scored_begin - w.begin);
    std::copy(piece.begin() + 1 + skipped, piece.begin() + 1 + used, targets + skipped);
    label_documents({tokens, length}, shards_.end_of_document(), {documents + offset, length},
                    {positions + offset, length});
    batch.num_targets += static_cast<int64_t>(used - skipped);
  }
  return batch;
}

}  // namespace weft
