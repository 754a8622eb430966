#pragma once
// The scan's exponentials alone, for the bound of selective_scan_bench.cpp.

namespace weft {

inline constexpr int kExponentials = 2048;  // 8 KiB of floats

// to[i] = 2^from[i] for kExponentials numbers <= 0, aligned to 64 bytes, `passes` times over, with
// the routine of the scan (models/kernels/cpu/vector_math.h). REQUIRES: AVX-512.
void make_exponentials(const float* from, float* to, int passes);

}  // namespace weft
