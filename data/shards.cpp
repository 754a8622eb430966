#include "data/shards.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <type_traits>

#include "base/check.h"
#include "data/shard_index.h"

namespace weft {
namespace {

struct Counts {
  int64_t ends = 0;               // tokens that are end-of-document
  std::optional<int64_t> beyond;  // first token that is not in the vocabulary
};

// Looks at `count` tokens, without a branch inside a block so that the compiler vectorises it.
template <class T>
Counts count_tokens(const std::byte* data, int64_t count, int64_t vocab_size, int32_t end) {
  using Unsigned = std::make_unsigned_t<T>;
  constexpr int64_t kMost = std::numeric_limits<T>::max();
  constexpr int64_t kBlock = 4096;
  const auto highest = static_cast<Unsigned>(std::min(vocab_size - 1, kMost));
  Counts counts;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t stop = std::min(begin + kBlock, count);
    bool beyond = false;
    int32_t ends = 0;
    for (int64_t i = begin; i < stop; ++i) {
      const auto id = load_unaligned<Unsigned>(data + i * static_cast<int64_t>(sizeof(T)));
      beyond |= id > highest;
      ends += id == static_cast<Unsigned>(end);
    }
    if (end <= kMost) counts.ends += ends;
    if (!beyond) continue;
    for (int64_t i = begin; i < stop && !counts.beyond; ++i) {
      if (load_unaligned<Unsigned>(data + i * static_cast<int64_t>(sizeof(T))) > highest)
        counts.beyond = i;
    }
    return counts;
  }
  return counts;
}

}  // namespace

absl::StatusOr<TokenShards> TokenShards::open(const fs::path& prefix, int64_t vocab_size,
                                              int32_t end_of_document) {
  WEFT_CHECK(vocab_size >= 1 && end_of_document >= 0, "vocabulary of ", vocab_size);
  fs::path index_path = prefix;
  fs::path bin_path = prefix;
  WEFT_ASSIGN_OR_RETURN(const MappedFile index_file, MappedFile::open(index_path += ".idx"));
  WEFT_ASSIGN_OR_RETURN(MappedFile bin, MappedFile::open(bin_path += ".bin"));
  WEFT_ASSIGN_OR_RETURN(const ShardIndex index,
                        ShardIndex::parse(index_file, static_cast<int64_t>(bin.bytes().size())));

  TokenShards shards(std::move(bin), index.dtype_code(), end_of_document);
  shards.pieces_.reserve(index.sequences());
  shards.starts_.reserve(index.documents() + 1);
  int64_t token = 0;
  int64_t document = 0;
  for (int64_t i = 0; i <= index.sequences(); ++i) {
    for (; document <= index.documents() && index.document(document) == i; ++document) {
      shards.starts_.push_back(token);
    }
    if (i == index.sequences()) break;
    shards.pieces_.push_back({token, index.offset(i)});
    token += index.length(i);
  }
  WEFT_RETURN_IF_ERROR(shards.scan(vocab_size));
  return shards;
}

absl::Status TokenShards::scan(int64_t vocab_size) {
  int64_t ends = 0;
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const int64_t stop = i + 1 < pieces_.size() ? pieces_[i + 1].token : num_tokens();
    const int64_t count = stop - pieces_[i].token;
    const std::byte* data = bin_.bytes().data() + pieces_[i].byte_offset;
    Counts counts;
    with_token_type(dtype_code_, [&](auto type) {
      counts = count_tokens<decltype(type)>(data, count, vocab_size, end_of_document_);
    });
    if (counts.beyond) {
      const int64_t token = pieces_[i].token + *counts.beyond;
      const int64_t document =
          std::upper_bound(starts_.begin(), starts_.end(), token) - starts_.begin() - 1;
      const int64_t position = token - starts_[document];
      int64_t id = 0;
      read(document, position, position + 1, {&id, 1});
      return bad_input(bin_.path().string(), ": document ", document, ", position ", position,
                       ": token id is ", id, ", must be from 0 to ", vocab_size - 1,
                       " (the vocabulary)");
    }
    ends += counts.ends;
  }
  text_bytes_ = num_tokens() - ends;
  closed_.resize(num_documents());
  for (int64_t document = 0; document < num_documents(); ++document) {
    const int64_t tokens = document_tokens(document);
    if (tokens == 0) continue;
    int64_t last = 0;
    read(document, tokens - 1, tokens, {&last, 1});
    closed_[document] = last == end_of_document_;
  }
  return absl::OkStatus();
}

std::string TokenShards::fingerprint() const {
  return hex64(checksum(bin_.bytes())) + hex64(checksum(std::as_bytes(std::span(starts_)))) +
         hex64(checksum(std::as_bytes(std::span(pieces_))));
}

void TokenShards::read(int64_t document, int64_t begin, int64_t end, std::span<int64_t> out) const {
  WEFT_CHECK(0 <= document && document < num_documents(), "document ", document);
  WEFT_CHECK(0 <= begin && begin <= end && end <= document_tokens(document), "tokens ", begin,
             " to ", end, " of ", document_tokens(document));
  WEFT_CHECK(static_cast<int64_t>(out.size()) >= end - begin, "room for ", out.size());
  int64_t token = starts_[document] + begin;
  const int64_t stop = starts_[document] + end;
  if (token == stop) return;
  auto piece =
      std::upper_bound(pieces_.begin(), pieces_.end(), token,
                       [](int64_t value, const Piece& other) { return value < other.token; }) -
      1;
  for (int64_t* to = out.data(); token < stop; ++piece) {
    const int64_t piece_end = piece + 1 == pieces_.end() ? num_tokens() : piece[1].token;
    const int64_t count = std::min(piece_end, stop) - token;
    with_token_type(dtype_code_, [&](auto type) {
      using T = decltype(type);
      const std::byte* from = bin_.bytes().data() + piece->byte_offset +
                              (token - piece->token) * static_cast<int64_t>(sizeof(T));
      for (int64_t i = 0; i < count; ++i) to[i] = load_unaligned<T>(from + i * sizeof(T));
    });
    to += count;
    token += count;
  }
}

}  // namespace weft
