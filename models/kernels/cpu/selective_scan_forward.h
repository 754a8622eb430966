#pragma once
// Forward pass of the scan for one task. Bound by arithmetic: some 16 vector operations for each
// token, state and vector of channels, of which the exponential takes 12. Included as cpu/vector.h
// is.
#include "models/kernels/cpu/selective_scan_steps.h"

namespace weft::cpu::WEFT_ISA {

// States that are kept in registers at a time.
#if defined(__AVX512F__)
constexpr int kForwardBlock = 16;
#else
constexpr int kForwardBlock = 4;
#endif

// The chunk's vectors, [kGroupVectors, kScanChunk] each.
template <class C>
struct ForwardSteps {
  Vec<C>*delta, *u, *y;  // step size; delta x; sum of C h
};

template <class S, class C = Compute<S>>
inline void load_forward_steps(const ScanInputs<S>& in, const ScanTask& task, int64_t t0, int steps,
                               const ForwardSteps<C>& out) {
  for (int v = 0; v * kLanes<C> < task.channels; ++v) {
    const int64_t channel = task.first + v * kLanes<C>;
    const int count = task.channels - v * kLanes<C>;
    const Vec<C> bias = load(in.dt_bias + channel, count);
    for (int t = 0; t < steps; ++t) {
      const int i = v * kScanChunk + t;
      const Vec<C> dt = load(at(in.dt, task.b, t0 + t, channel), count);
      out.delta[i] = softplus<C>(dt + bias).value;
      out.u[i] = out.delta[i] * load(at(in.x, task.b, t0 + t, channel), count);
      out.y[i] = Vec<C>{};
    }
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
      const Vec<C> decay = exp2_of_product<C>(delta[t], rates[n * kStride]);
      h[n] = decay * h[n] + u[t] * b[t * kBlock + n];
      sums[n % 2] += h[n] * c[t * kBlock + n];
    }
    y[t] = sums[0] + sums[1];
  }
  for (int n = 0; n < kBlock; ++n) states[n * kStride] = h[n];
}

template <class S, class C = Compute<S>>
inline void store_forward_steps(const ScanForward<S>& scan, const ScanTask& task, int64_t t0,
                                int steps, const Vec<C>* y) {
  const ScanInputs<S>& in = scan.in;
  for (int v = 0; v * kLanes<C> < task.channels; ++v) {
    const int64_t channel = task.first + v * kLanes<C>;
    const int count = task.channels - v * kLanes<C>;
    const Vec<C> d = load(in.d + channel, count);
    for (int t = 0; t < steps; ++t) {
      const Vec<C> x = load(at(in.x, task.b, t0 + t, channel), count);
      const Vec<C> z = load(at(in.z, task.b, t0 + t, channel), count);
      const Vec<C> gated = (y[v * kScanChunk + t] + d * x) * z * sigmoid<C>(z);
      store(at(scan.y, task.b, t0 + t, channel), gated, count);
    }
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
  const ForwardSteps<C> of{carver.take<Vec<C>>(kVectors * kScanChunk),
                           carver.take<Vec<C>>(kVectors * kScanChunk),
                           carver.take<Vec<C>>(kVectors * kScanChunk)};
  C* b = carver.take<C>(kScanChunk * kForwardBlock);
  C* c = carver.take<C>(kScanChunk * kForwardBlock);
  load_decay_rates<S>(in, task, rates);
  for (int64_t i = 0; i < states * kVectors; ++i) h[i] = Vec<C>{};

  for (int64_t t0 = 0; t0 < in.shape.time; t0 += kScanChunk) {
    const int64_t left = in.shape.time - t0;
    const int steps = static_cast<int>(left < kScanChunk ? left : kScanChunk);
    const bool* starts = in.starts + task.b * in.shape.time + t0;
    if (scan.entering != nullptr) store_entering(scan, task, t0 / kScanChunk, h);
    load_forward_steps<S>(in, task, t0, steps, of);
    for_each_block<kForwardBlock>(0, states, [&]<int kBlock>(Count<kBlock>, int64_t n) {
      widen_block<kBlock>(in.b, task.b, t0, steps, n, b);
      widen_block<kBlock>(in.c, task.b, t0, steps, n, c);
      for (int v = 0; v * kLanes<C> < task.channels; ++v) {
        const int64_t first = n * kVectors + v;
        const int row = v * kScanChunk;
        scan_block<kBlock, C>(steps, starts, b, c, rates + first, of.delta + row, of.u + row,
                              h + first, of.y + row);
      }
    });
    store_forward_steps<S>(scan, task, t0, steps, of.y);
  }
}

}  // namespace weft::cpu::WEFT_ISA
