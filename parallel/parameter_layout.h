#pragma once
// Where the rows of a parameter table lie in flat memory: rows that an update treats alike one
// behind the other, so that it is one pass over each such bucket.
#include <cstdint>
#include <vector>

#include "parallel/parameter_table.h"

namespace weft {

// What lies between two rows, numbers.
struct BucketGap {
  int64_t offset, size;
};

struct BucketLayout {
  WeightDecay decay;
  ComputeType compute;
  int64_t size = 0;  // numbers
  std::vector<BucketGap> gaps = {};
};

struct ParameterPlace {
  size_t bucket;
  int64_t offset;  // in it, numbers
};

// Rows with one `joint` name, from its first row on.
struct JointLayout {
  const ParameterSpec* first;
  int64_t rows;  // along the first dimension
  ParameterPlace place;
};

struct ParameterLayout {
  std::vector<BucketLayout> buckets;
  std::vector<ParameterPlace> rows;  // in the order of the table
  std::vector<JointLayout> joints;   // in the order of their first rows
};

// Rows (joints, whose parts have no gaps) begin at multiples of this many numbers.
inline constexpr int64_t kRowMultiple = 128;

// `one_type`: whether masters are computed with; then all rows count as ComputeType::kMaster. The
// table must outlive the layout. Errors: rows of a joint that differ in more than their first
// dimension are a programmer's error.
ParameterLayout lay_out(const ParameterTable& table, bool one_type);

// Numbers in `rows` of a row's first dimension; a scalar has one of it.
int64_t numbers_in(const ParameterSpec& spec, int64_t rows);
int64_t first_dimension(const ParameterSpec& spec);

}  // namespace weft
