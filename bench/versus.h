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

struct Times {
  double ours, peer;  // medians in milliseconds
};

// Of turns that alternate, so that both meet the same machine; the first is not counted.
template <class Ours, class Peer>
Times median_times(int turns, const Ours& ours, const Peer& peer) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times[2];
  const auto add = [](std::vector<double>& to, const auto& f) {
    const auto start = Clock::now();
    f();
    to.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  };
  ours();
  peer();
  for (int i = 0; i < turns; ++i) {
    add(times[0], ours);
    add(times[1], peer);
  }
  for (std::vector<double>& t : times) std::nth_element(t.begin(), t.begin() + turns / 2, t.end());
  return {times[0][turns / 2], times[1][turns / 2]};
}

template <class Ours, class Peer>
void print_ratio(const char* what, const char* peer_name, const Ours& ours, const Peer& peer) {
  const double ours_ms = median_ms(25, ours), peer_ms = median_ms(5, peer);
  std::printf("%s: weft %.2f ms, %s %.2f ms, ratio %.1f\n", what, ours_ms, peer_name, peer_ms,
              peer_ms / ours_ms);
}

}  // namespace weft
