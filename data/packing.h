#pragma once
// What the orders of training and evaluation share: making a Batch and labelling its documents.
#include <cstdint>
#include <span>

#include "data/batch.h"

namespace weft {

// A Batch of uninitialised tensors [rows, T] with num_targets 0.
Batch make_batch(int64_t rows, int64_t sequence_length);

// Fills `documents` and `positions` [T] of one row from its tokens: a document starts at the row's
// first token and at each end-of-document id, which introduces the document after it.
void label_documents(std::span<const int64_t> tokens, int64_t end_of_document,
                     std::span<int32_t> documents, std::span<int64_t> positions);

}  // namespace weft
