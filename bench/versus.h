#pragma once
// A kernel and its named peer side by side in one process: times of both and their ratio.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include <malloc.h>

namespace weft {

// Tells glibc to keep freed pages: without it a program of large, short-lived tensors measures page
// faults. 32 MiB is the largest threshold that glibc takes.
inline void keep_freed_pages() {
  const bool kept = mallopt(M_MMAP_THRESHOLD, 32 << 20) && mallopt(M_TRIM_THRESHOLD, 2047 << 20);
  if (!kept) std::fprintf(stderr, "malloc does not keep freed pages\n");
}

// Median time of f in milliseconds, after one run that is not counted.
template <class F>
double median_ms(int runs, const F& f) {
  using Clock = std::chrono::steady_clock;
  f();
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) {
    const auto start = Clock::now();
    f();
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return times[runs / 2];
}

template <class Ours, class Peer>
void print_ratio(const char* what, const char* peer_name, const Ours& ours, const Peer& peer) {
  const double ours_ms = median_ms(25, ours), peer_ms = median_ms(5, peer);
  std::printf("%s: weft %.2f ms, %s %.2f ms, ratio %.1f\n", what, ours_ms, peer_name, peer_ms,
              peer_ms / ours_ms);
}

}  // namespace weft
