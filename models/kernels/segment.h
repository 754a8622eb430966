#pragma once
// Where a document lies in a batch of rows of tokens.
#include <cstdint>

namespace weft {

struct Segment {
  int64_t row, begin, end;  // tokens [begin, end) of a row
};

}  // namespace weft
