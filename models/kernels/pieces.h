#pragma once
// Many tensors as one row of pieces that threads share, however large each tensor is.
#include <algorithm>
#include <vector>

#include <ATen/Parallel.h>

namespace weft {

// Elements that a thread takes at a time.
inline constexpr int64_t kPiece = 1 << 15;

// Elements begin .. end - 1 of one tensor; `number` counts the pieces of all.
struct Piece {
  int64_t number;
  size_t tensor;
  int64_t begin, end;
};

inline int64_t pieces_of(int64_t size) { return (size + kPiece - 1) / kPiece; }

inline int64_t count_pieces(const std::vector<int64_t>& sizes) {
  int64_t count = 0;
  for (const int64_t size : sizes) count += pieces_of(size);
  return count;
}

// f(piece) for all pieces of tensors of these sizes, on any thread.
template <class F>
void for_each_piece(const std::vector<int64_t>& sizes, const F& f) {
  std::vector<int64_t> ends;  // in pieces
  int64_t count = 0;
  for (const int64_t size : sizes) ends.push_back(count += pieces_of(size));
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    auto at = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin());
    for (int64_t number = begin; number < end; ++number) {
      while (ends[at] <= number) ++at;
      const int64_t first = (number - (at == 0 ? 0 : ends[at - 1])) * kPiece;
      f(Piece{number, at, first, std::min(first + kPiece, sizes[at])});
    }
  });
}

}  // namespace weft
