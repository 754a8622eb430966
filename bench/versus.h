#pragma once
// A kernel and its named peer side by side in one process: times of both and their ratio.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <malloc.h>

namespace weft {

// Tells glibc to keep freed pages: without it a program of large, short-lived tensors measures page
// faults. 32 MiB is the largest threshold that glibc takes.
inline void keep_freed_pages() {
  const bool kept = mallopt(M_MMAP_THRESHOLD, 32 << 20) && mallopt(M_TRIM_THRESHOLD, 2047 << 20);
  if (!kept) std::fprintf(stderr, "malloc does not keep freed pages\n");
}

template <class F>
double time_ms(const F& f) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  f();
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Median time of f in milliseconds, after one run that is not counted.
template <class F>
double median_ms(int runs, const F& f) {
  f();
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) times.push_back(time_ms(f));
  return median(times);
}

struct Times {
  double ours, peer;  // medians in milliseconds
};

// Of turns that alternate, so that both meet the same machine; the first is not counted.
template <class Ours, class Peer>
Times median_times(int turns, const Ours& ours, const Peer& peer) {
  ours();
  peer();
  std::vector<double> our_times, peer_times;
  for (int i = 0; i < turns; ++i) {
    our_times.push_back(time_ms(ours));
    peer_times.push_back(time_ms(peer));
  }
  return {median(our_times), median(peer_times)};
}

// A Google benchmark of f, which does so many floating-point operations a call.
template <class F>
void register_benchmark(const std::string& name, double flops, const F& f) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 for (auto _ : state) f();
                                 state.counters["FLOP/s"] = benchmark::Counter(
                                     flops * static_cast<double>(state.iterations()),
                                     benchmark::Counter::kIsRate);
                               })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

template <class Ours, class Peer>
void print_ratio(const char* what, const char* peer_name, const Ours& ours, const Peer& peer) {
  const double ours_ms = median_ms(25, ours), peer_ms = median_ms(5, peer);
  std::printf("%s: weft %.2f ms, %s %.2f ms, ratio %.1f\n", what, ours_ms, peer_name, peer_ms,
              peer_ms / ours_ms);
}

}  // namespace weft
