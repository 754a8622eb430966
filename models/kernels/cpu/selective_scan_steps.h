#pragma once
// What both passes of the scan do around the states: read a chunk of inputs of one group of
// channels into vectors, and cut the states into blocks. Included as cpu/vector.h is.
#include "models/kernels/cpu/rows.h"
#include "models/kernels/cpu/selective_scan.h"
#include "models/kernels/cpu/vector_math.h"

namespace weft::cpu::WEFT_ISA {

template <class C>
constexpr int kGroupVectors = kScanGroup / kLanes<C>;

// Vectors from one row of a chunk's vectors to the next: one more than a chunk has, or all rows of
// all tables would share a few sets of the L1 cache.
constexpr int kStepStride = kScanChunk + 1;

// A task: row `b` of the batch, channels first .. first + channels - 1.
struct ScanTask {
  int64_t b, group, first;
  int channels;
};

inline ScanTask scan_task(const ScanShape& shape, int64_t task) {
  const int64_t groups = (shape.channels + kScanGroup - 1) / kScanGroup;
  const int64_t group = task % groups, first = group * kScanGroup;
  const int64_t left = shape.channels - first;
  return {task / groups, group, first, static_cast<int>(left < kScanGroup ? left : kScanGroup)};
}

// f(v, channel, count) for the vectors of a group of `channels`: vector v starts at `channel` and
// has `count` lanes. kFull: there are kScanGroup, so that no lane has to be looked at.
template <bool kFull, class C, class F>
inline void for_each_vector(int channels, const F& f) {
  if constexpr (kFull) {
#pragma GCC unroll 4
    for (int v = 0; v < kGroupVectors<C>; ++v) f(v, v * kLanes<C>, kLanes<C>);
  } else {
    for (int v = 0; v * kLanes<C> < channels; ++v) {
      f(v, v * kLanes<C>, channels - v * kLanes<C>);
    }
  }
}

// A log2(e) for all states of a group, [N, kGroupVectors].
template <class S, class C = Compute<S>>
inline void load_decay_rates(const ScanInputs<S>& in, const ScanTask& task, Vec<C>* rates) {
  const int64_t states = in.shape.states;
  for (int64_t n = 0; n < states; ++n) {
    for (int v = 0; v < kGroupVectors<C>; ++v) {
      const int channel = v * kLanes<C>;
      const C* table = in.a_log + (task.first + channel) * states;
      const Vec<C> a_log = load_column<C>(table, states, n, task.channels - channel);
      rates[n * kGroupVectors<C> + v] = -exp<C>(a_log) * static_cast<C>(kLog2E);
    }
  }
}

// b or c of `steps` tokens from `t0`, states n .. n + kBlock - 1, as [steps, kBlock].
template <int kBlock, class S>
inline void widen_block(const Rows<const S>& rows, int64_t b, int64_t t0, int steps, int64_t n,
                        Compute<S>* out) {
  for (int t = 0; t < steps; ++t) {
    const S* row = at(rows, b, t0 + t, n);
    for (int i = 0; i < kBlock; ++i) out[t * kBlock + i] = widen(row[i]);
  }
}

template <int kValue>
struct Count {};

// f(Count<k>, n) for blocks of k <= kBlock states from n that cover n .. states - 1; k is kBlock as
// long as that fits, then its halves.
template <int kBlock, class F>
inline void for_each_block(int64_t n, int64_t states, const F& f) {
  for (; n + kBlock <= states; n += kBlock) f(Count<kBlock>{}, n);
  if constexpr (kBlock > 1) for_each_block<kBlock / 2>(n, states, f);
}

}  // namespace weft::cpu::WEFT_ISA
