#include "data/packing.h"

#include <ATen/ops/empty.h>

#include "base/check.h"

namespace weft {

Batch make_batch(int64_t rows, int64_t sequence_length) {
  return {.tokens = at::empty({rows, sequence_length}, at::kLong),
          .targets = at::empty({rows, sequence_length}, at::kLong),
          .documents = at::empty({rows, sequence_length}, at::kInt),
          .positions = at::empty({rows, sequence_length}, at::kLong)};
}

void label_documents(std::span<const int64_t> tokens, int64_t end_of_document,
                     std::span<int32_t> documents, std::span<int64_t> positions) {
  WEFT_CHECK(documents.size() == tokens.size() && positions.size() == tokens.size(), "labels for ",
             tokens.size(), " tokens");
  int32_t document = 0;
  int64_t position = 0;
  for (size_t t = 0; t < tokens.size(); ++t, ++position) {
    if (t > 0 && tokens[t] == end_of_document) {
      ++document;
      position = 0;
    }
    documents[t] = document;
    positions[t] = position;
  }
}

}  // namespace weft
