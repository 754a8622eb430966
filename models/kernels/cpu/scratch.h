#pragma once
// Memory of work that is done piece after piece, over and over: the next piece uses what the last
// one did, which is still in the caches.
#include <cstdint>
#include <vector>

#include "models/kernels/cpu/tasks.h"

namespace weft::cpu {

class Scratch final {
 public:
  // `count` numbers with unknown contents, aligned to 64 bytes, for as long as this lives.
  template <class T>
  T* take(int64_t count) {
    return reinterpret_cast<T*>(take_bytes(count * static_cast<int64_t>(sizeof(T))));
  }

  // What is taken from now on may be memory that was taken before.
  void rewind() { used_ = 0; }

 private:
  std::byte* take_bytes(int64_t bytes);

  std::vector<AlignedBytes> blocks_;  // each larger than those before it; the last is in use
  int64_t size_ = 0, used_ = 0;       // of the last
};

}  // namespace weft::cpu
