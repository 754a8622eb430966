#pragma once
// Two large buffers, of which one is read, or copied with stores that bypass the caches: the bound
// of whatever waits for memory.
#include <chrono>

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <emmintrin.h>

#include "base/check.h"
#include "base/tensor.h"

namespace weft {

class MemoryCopy {
 public:
  static constexpr int64_t kBytes = 1 << 30;

  // REQUIRES: far more `bytes` than the caches have.
  explicit MemoryCopy(int64_t bytes = kBytes)
      : bytes_(bytes), from_(at::zeros({bytes}, at::kByte)), to_(at::zeros({bytes}, at::kByte)) {}

  // Moves the next `bytes` (half of them read, half written). Each call goes on behind the last
  // one.
  void copy(int64_t bytes) {
    each_vector(bytes / 2, [](const __m128i* from, __m128i* to, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) _mm_stream_si128(to + i, from[i]);
      _mm_sfence();
    });
  }

  void read(int64_t bytes) {
    each_vector(bytes, [](const __m128i* from, __m128i*, int64_t begin, int64_t end) {
      __m128i bits[4] = {};
      for (int64_t i = begin; i + 4 <= end; i += 4) {
        for (int j = 0; j < 4; ++j) bits[j] |= from[i + j];
      }
      const __m128i all = bits[0] | bits[1] | bits[2] | bits[3];
      WEFT_CHECK(_mm_movemask_epi8(all) == 0, "the buffer has only zeros");
    });
  }

  // Bytes read and written a second by one copy of the whole buffer.
  double copy_bandwidth() {
    const auto start = std::chrono::steady_clock::now();
    copy(2 * bytes_);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    return 2.0 * static_cast<double>(bytes_) / time.count();
  }

 private:
  // f(from, to, begin, end) for parts of the next `bytes`, in vectors.
  template <class F>
  void each_vector(int64_t bytes, const F& f) {
    if (next_ + bytes > bytes_) next_ = 0;
    const auto* from = static_cast<const __m128i*>(from_.const_data_ptr()) + next_ / 16;
    auto* to = static_cast<__m128i*>(to_.data_ptr()) + next_ / 16;
    at::parallel_for(0, bytes / 16, 1,
                     [&](int64_t begin, int64_t end) { f(from, to, begin, end); });
    next_ += bytes / 64 * 64;
  }

  int64_t bytes_;
  Tensor from_, to_;
  int64_t next_ = 0;
};

}  // namespace weft
