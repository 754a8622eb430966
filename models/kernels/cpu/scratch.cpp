#include "models/kernels/cpu/scratch.h"

#include <algorithm>

namespace weft::cpu {

std::byte* Scratch::take_bytes(int64_t bytes) {
  constexpr int64_t kLeast = 4096;
  if (blocks_.empty() || used_ + bytes > size_) {
    size_ = to_lines(std::max({bytes, 2 * size_, kLeast}));
    used_ = 0;
    blocks_.push_back(aligned_bytes(size_));
  }
  std::byte* const taken = blocks_.back().get() + used_;
  used_ += to_lines(bytes);
  return taken;
}

}  // namespace weft::cpu
