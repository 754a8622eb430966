#pragma once
// Forward pass of the scan for one task. Bound by arithmetic: some 14 vector operations for each
// token, state and vector of channels, of which the exponential takes 10. Included as cpu/vector.h
// is.
#include "models/kernels/cpu/selective_scan_steps.h"

namespace weft::cpu::WEFT_ISA {

// States that are kept in registers at a time.
#if defined(__AVX512F__)
constexpr int kForwardBlock = 16;
#else
constexpr int kForwardBlock = 4;
#endif

// The chunk's vectors, [kGroupVectors, kStepStride] each.
template <class C>
struct ForwardSteps {
  Vec<C>*delta, *x, *u, *y;  // step size; x; delta x; sum of C h
};

template <bool kFull, class S, class C = Compute<S>>
inline void load_forward_steps(const ScanInputs<S>& in, const ScanTask& task, int64_t t0, int steps,
                               const ForwardSteps<C>& of) {
  for (int t = 0; t < steps; ++t) {
    const S* dt = at(in.dt, task.b, t0 + t, task.first);
    const S* x = at(in.x, task.b, t0 + t, task.first);
    prefetch<false>(at(in.z, task.b, t0 + t, task.first), task.channels);
    if (t0 + t + kScanChunk < in.shape.time) {
      prefetch<false>(dt + kScanChunk * in.dt.row_stride, task.channels);
      prefetch<false>(x + kScanChunk * in.x.row_stride, task.channels);
    }
    for_each_vector<kFull, C>(task.channels, [&](int v, int channel, int count) {
      const int i = v * kStepStride + t;
      const Vec<C> bias = load(in.dt_bias + task.first + channel, count);
      of.delta[i] = softplus<C>(load(dt + channel, count) + bias).value;
      of.x[i] = load(x + channel, count);
      of.u[i] = of.delta[i] * of.x[i];
      of.y[i] = Vec<C>{};
    });
  }
}

// Steps one vector of channels through a chunk for kBlock states: b, c [steps, kBlock]; rates and
// states at a stride of kGroupVectors; y is added to.
template <int kBlock, class C>
inline void scan_block(int steps, const bool* starts, const C* b, const C* c, const Vec<C>* rates,
                       const Vec<C>* delta, const Vec<C>* u, Vec<C>* states, Vec<C>* y) {
  constexpr int kStride = kGroupVectors<C>;
  Vec<C> h[kBlock];
  for (int n = 0; n < kBlock; ++n) h[n] = states[n * kStride];
  for (int t = 0; t < steps; ++t) {
    if (starts[t]) {
      for (int n = 0; n < kBlock; ++n) h[n] = Vec<C>{};
    }
    Vec<C> sums[2] = {y[t], Vec<C>{}};
#pragma GCC unroll 16
    for (int n = 0; n < kBlock; ++n) {
      const Vec<C> decay = exp2_nonpositive<C>(delta[t] * rates[n * kStride]);
      h[n] = decay * h[n] + u[t] * b[t * kBlock + n];
      sums[n % 2] += h[n] * c[t * kBlock + n];
    }
    y[t] = sums[0] + sums[1];
  }
  for (int n = 0; n < kBlock; ++n) states[n * kStride] = h[n];
}

template <bool kFull, class S, class C = Compute<S>>
inline void store_forward_steps(const ScanForward<S>& scan, const ScanTask& task, int64_t t0,
                                int steps, const ForwardSteps<C>& of) {
  for (int t = 0; t < steps; ++t) {
    const S* z_row = at(scan.in.z, task.b, t0 + t, task.first);
    S* y_row = at(scan.y, task.b, t0 + t, task.first);
    for_each_vector<kFull, C>(task.channels, [&](int v, int channel, int count) {
      const int i = v * kStepStride + t;
      const Vec<C> d = load(scan.in.d + task.first + channel, count);
      const Vec<C> z = load(z_row + channel, count);
      store(y_row + channel, (of.y[i] + d * of.x[i]) * z * sigmoid<C>(z), count);
    });
  }
}

// Keeps the states that enter a chunk, for the backward pass.
template <class S, class C = Compute<S>>
inline void store_entering(const ScanForward<S>& scan, const ScanTask& task, int64_t chunk,
                           const Vec<C>* states) {
  const ScanShape& shape = scan.in.shape;
  const int64_t chunks = (shape.time + kScanChunk - 1) / kScanChunk;
  for (int64_t n = 0; n < shape.states; ++n) {
    C* row = scan.entering + ((task.b * chunks + chunk) * shape.states + n) * shape.channels +
             task.first;
    for (int v = 0; v * kLanes<C> < task.channels; ++v) {
      store(row + v * kLanes<C>, states[n * kGroupVectors<C> + v], task.channels - v * kLanes<C>);
    }
  }
}

// The state tables of all rows [D, N] of a group of channels: the one that token 0 goes on from,
// and the one that the last token leaves.
template <class S, class C = Compute<S>>
inline void load_initial_states(const ScanForward<S>& scan, const ScanTask& task, Vec<C>* states) {
  const ScanShape& shape = scan.in.shape;
  const C* table = scan.initial_state;
  if (table != nullptr) table += (task.b * shape.channels + task.first) * shape.states;
  for (int64_t n = 0; n < shape.states; ++n) {
    for (int v = 0; v < kGroupVectors<C>; ++v) {
      const int channel = v * kLanes<C>;
      states[n * kGroupVectors<C> + v] =
          table == nullptr ? Vec<C>{}
                           : load_column<C>(table + channel * shape.states, shape.states, n,
                                            task.channels - channel);
    }
  }
}

template <class S, class C = Compute<S>>
inline void store_final_states(const ScanForward<S>& scan, const ScanTask& task,
                               const Vec<C>* states) {
  const ScanShape& shape = scan.in.shape;
  C* table = scan.final_state + (task.b * shape.channels + task.first) * shape.states;
  for (int64_t n = 0; n < shape.states; ++n) {
    for (int v = 0; v * kLanes<C> < task.channels; ++v) {
      const int channel = v * kLanes<C>;
      store_column(table + channel * shape.states, shape.states, n,
                   states[n * kGroupVectors<C> + v], task.channels - channel);
    }
  }
}

template <class S>
void scan_forward_task(const ScanForward<S>& scan, int64_t index, void* workspace) {
  using C = Compute<S>;
  constexpr int kVectors = kGroupVectors<C>;
  const ScanInputs<S>& in = scan.in;
  const ScanTask task = scan_task(in.shape, index);
  const int64_t states = in.shape.states;
  Carver carver(workspace);
  Vec<C>* rates = carver.take<Vec<C>>(states * kVectors);
  Vec<C>* h = carver.take<Vec<C>>(states * kVectors);
  const ForwardSteps<C> of{
      carver.take<Vec<C>>(kVectors * kStepStride), carver.take<Vec<C>>(kVectors * kStepStride),
      carver.take<Vec<C>>(kVectors * kStepStride), carver.take<Vec<C>>(kVectors * kStepStride)};
  C* b = carver.take<C>(kScanChunk * kForwardBlock);
  C* c = carver.take<C>(kScanChunk * kForwardBlock);
  load_decay_rates<S>(in, task, rates);
  load_initial_states(scan, task, h);

  for (int64_t t0 = 0; t0 < in.shape.time; t0 += kScanChunk) {
    const int64_t left = in.shape.time - t0;
    const int steps = static_cast<int>(left < kScanChunk ? left : kScanChunk);
    const bool* starts = in.starts + task.b * in.shape.time + t0;
    if (scan.entering != nullptr) store_entering(scan, task, t0 / kScanChunk, h);
    if (task.channels == kScanGroup) {
      load_forward_steps<true>(in, task, t0, steps, of);
    } else {
      load_forward_steps<false>(in, task, t0, steps, of);
    }
    for_each_block<kForwardBlock>(0, states, [&]<int kBlock>(Count<kBlock>, int64_t n) {
      widen_block<kBlock>(in.b, task.b, t0, steps, n, b);
      widen_block<kBlock>(in.c, task.b, t0, steps, n, c);
      for (int v = 0; v * kLanes<C> < task.channels; ++v) {
        const int64_t first = n * kVectors + v;
        const int row = v * kStepStride;
        scan_block<kBlock, C>(steps, starts, b, c, rates + first, of.delta + row, of.u + row,
                              h + first, of.y + row);
      }
    });
    if (task.channels == kScanGroup) {
      store_forward_steps<true>(scan, task, t0, steps, of);
    } else {
      store_forward_steps<false>(scan, task, t0, steps, of);
    }
  }
  if (scan.final_state != nullptr) store_final_states(scan, task, h);
}

}  // namespace weft::cpu::WEFT_ISA
