#pragma once
// Backward pass of the scan for one task (equations in spec/models.md 9). For each block of states
// a chunk's states and decays are made again into a buffer of the size of an L1 cache, which is
// then walked backwards. Reading rows with their pointwise functions, remaking and walking back
// take about a third each. Included as cpu/vector.h is.
#include "models/kernels/cpu/selective_scan_steps.h"

namespace weft::cpu::WEFT_ISA {

#if defined(__AVX512F__)
constexpr int kBackwardBlock = 8;
#else
constexpr int kBackwardBlock = 8;
#endif

// The chunk's vectors, [kGroupVectors, kStepStride] each.
template <class C>
struct BackwardSteps {
  Vec<C>* x;
  // Step size and its derivative.
  Vec<C>*delta, *slope;
  // Gradient of y before the gate; that of z, but for the factor y.
  Vec<C>*dy, *dgate;
  // Sums over states: C h; B g; A times the gradient of A.
  Vec<C>*y, *du, *da_h;
};

// One block's buffers: [kScanChunk, block].
template <class C>
struct BackwardBlock {
  Vec<C>*h, *decay;  // of one vector of channels
  Vec<C>*db, *dc;    // summed over the vectors of the group
  C *b, *c;
};

template <class S>
inline void prefetch_backward_inputs(const ScanBackward<S>& scan, const ScanTask& task, int64_t t) {
  const Rows<const S>* const inputs[] = {&scan.in.x, &scan.in.dt, &scan.in.z, &scan.dy};
  for (const Rows<const S>* rows : inputs) {
    prefetch<false>(at(*rows, task.b, t, task.first), task.channels);
  }
}

template <bool kFull, class S, class C = Compute<S>>
inline void load_backward_steps(const ScanBackward<S>& scan, const ScanTask& task, int64_t t0,
                                int steps, const BackwardSteps<C>& of) {
  const ScanInputs<S>& in = scan.in;
  const Rows<S>* const outputs[] = {&scan.dx, &scan.ddt, &scan.dz};
  for (int t = 0; t < steps; ++t) {
    const S* x = at(in.x, task.b, t0 + t, task.first);
    const S* dt = at(in.dt, task.b, t0 + t, task.first);
    const S* z_row = at(in.z, task.b, t0 + t, task.first);
    const S* dy = at(scan.dy, task.b, t0 + t, task.first);
    if (t0 > 0) prefetch_backward_inputs(scan, task, t0 - kScanChunk + t);
    for (const Rows<S>* out : outputs) {
      prefetch<true>(at(*out, task.b, t0 + t, task.first), task.channels);
    }
    for_each_vector<kFull, C>(task.channels, [&](int v, int channel, int count) {
      const int i = v * kStepStride + t;
      const Vec<C> bias = load(in.dt_bias + task.first + channel, count);
      const Softplus<C> step = softplus<C>(load(dt + channel, count) + bias);
      const Vec<C> z = load(z_row + channel, count);
      const Vec<C> gate = sigmoid<C>(z), dout = load(dy + channel, count) * gate;
      of.delta[i] = step.value;
      of.slope[i] = step.slope;
      of.x[i] = load(x + channel, count);
      of.dy[i] = dout * z;
      of.dgate[i] = dout * (C(1) + z * (C(1) - gate));
    });
  }
}

// Makes the states of a chunk again, from those that enter it. `first`: this is the first block,
// where sums over states begin. Adds to block.dc and of.y.
template <int kBlock, class C>
inline void remake_block(bool first, int steps, const bool* starts, const BackwardBlock<C>& block,
                         const Vec<C>* rates, const Vec<C>* entering, const BackwardSteps<C>& of) {
  constexpr int kStride = kGroupVectors<C>;
  Vec<C> h[kBlock];
  for (int n = 0; n < kBlock; ++n) h[n] = entering[n * kStride];
  for (int t = 0; t < steps; ++t) {
    if (starts[t]) {
      for (int n = 0; n < kBlock; ++n) h[n] = Vec<C>{};
    }
    const Vec<C> delta = of.delta[t], u = delta * of.x[t], dy = of.dy[t];
    Vec<C> sums[2] = {first ? Vec<C>{} : of.y[t], Vec<C>{}};
#pragma GCC unroll 16
    for (int n = 0; n < kBlock; ++n) {
      const Vec<C> decay = exp2_nonpositive<C>(delta * rates[n * kStride]);
      h[n] = decay * h[n] + u * block.b[t * kBlock + n];
      sums[n % 2] += h[n] * block.c[t * kBlock + n];
      block.dc[t * kBlock + n] += dy * h[n];
      block.h[t * kBlock + n] = h[n];
      block.decay[t * kBlock + n] = decay;
    }
    of.y[t] = sums[0] + sums[1];
  }
}

// The reverse scan of one vector of channels. `carry` is the gradient that reaches a state through
// the next one, rates and da those of A log2(e) and A; all at a stride of kGroupVectors. Adds to
// block.db, of.du and of.da_h.
template <int kBlock, class C>
inline void reverse_block(bool first, int steps, const bool* starts, const BackwardBlock<C>& block,
                          const Vec<C>* rates, const Vec<C>* entering, const BackwardSteps<C>& of,
                          Vec<C>* carry_of_group, Vec<C>* da_of_group) {
  constexpr int kStride = kGroupVectors<C>;
  const Vec<C> none[kBlock] = {};
  Vec<C> at_start[kBlock];
  for (int n = 0; n < kBlock; ++n) at_start[n] = entering[n * kStride];
  Vec<C> carry[kBlock], da[kBlock];
  for (int n = 0; n < kBlock; ++n) carry[n] = carry_of_group[n * kStride];
  for (int n = 0; n < kBlock; ++n) da[n] = da_of_group[n * kStride];
  for (int t = steps - 1; t >= 0; --t) {
    const Vec<C>* before = starts[t] ? none : t > 0 ? block.h + (t - 1) * kBlock : at_start;
    const Vec<C> dy = of.dy[t], delta = of.delta[t], u = delta * of.x[t];
    Vec<C> du[2] = {first ? Vec<C>{} : of.du[t], Vec<C>{}};
    Vec<C> da_h[2] = {first ? Vec<C>{} : of.da_h[t], Vec<C>{}};
#pragma GCC unroll 16
    for (int n = 0; n < kBlock; ++n) {
      const int i = t * kBlock + n;
      const Vec<C> g = dy * block.c[i] + carry[n];
      block.db[i] += g * u;
      du[n % 2] += g * block.b[i];
      carry[n] = g * block.decay[i];
      const Vec<C> through_decay = carry[n] * before[n];
      da_h[n % 2] += through_decay * rates[n * kStride];
      da[n] += through_decay * delta;
    }
    of.du[t] = du[0] + du[1];
    of.da_h[t] = da_h[0] + da_h[1];
    if (starts[t]) {
      for (int n = 0; n < kBlock; ++n) carry[n] = Vec<C>{};
    }
  }
  for (int n = 0; n < kBlock; ++n) carry_of_group[n * kStride] = carry[n];
  for (int n = 0; n < kBlock; ++n) da_of_group[n * kStride] = da[n];
}

// Lanes of `sums` [steps, kBlock] to elements n .. n + kBlock - 1 of rows of `out` [steps, states].
template <int kBlock, class C>
inline void store_lane_sums(int steps, const Vec<C>* sums, C* out, int64_t states) {
  for (int first = 0; first < steps * kBlock; first += kLanes<C>) {
    Vec<C> rows[kLanes<C>];
    for (int i = 0; i < kLanes<C>; ++i) {
      rows[i] = first + i < steps * kBlock ? sums[first + i] : Vec<C>{};
    }
    C total[kLanes<C>];
    store_full(total, sum_lanes<C>(rows));
    for (int i = 0; i < kLanes<C> && first + i < steps * kBlock; ++i) {
      out[(first + i) / kBlock * states + (first + i) % kBlock] = total[i];
    }
  }
}

// Gradients of one chunk, from the sums over states; `dd` and `ddt_bias` [kGroupVectors] are added
// to.
template <bool kFull, class S, class C = Compute<S>>
inline void store_backward_steps(const ScanBackward<S>& scan, const ScanTask& task, int64_t t0,
                                 int steps, const BackwardSteps<C>& of, Vec<C>* dd,
                                 Vec<C>* ddt_bias) {
  for (int t = 0; t < steps; ++t) {
    S* dx = at(scan.dx, task.b, t0 + t, task.first);
    S* ddt_row = at(scan.ddt, task.b, t0 + t, task.first);
    S* dz = at(scan.dz, task.b, t0 + t, task.first);
    for_each_vector<kFull, C>(task.channels, [&](int v, int channel, int count) {
      const int i = v * kStepStride + t;
      const Vec<C> d = load(scan.in.d + task.first + channel, count);
      const Vec<C> ddelta = of.x[i] * of.du[i] + of.da_h[i] * static_cast<C>(kLn2);
      const Vec<C> ddt = ddelta * of.slope[i];
      store(dz + channel, of.dgate[i] * (of.y[i] + d * of.x[i]), count);
      store(dx + channel, d * of.dy[i] + of.delta[i] * of.du[i], count);
      store(ddt_row + channel, ddt, count);
      dd[v] += of.dy[i] * of.x[i];
      ddt_bias[v] += ddt;
    });
  }
}

// The task's sums over time. The gradient of a_log is that of A times A.
template <class S, class C = Compute<S>>
inline void store_parameter_sums(const ScanBackward<S>& scan, const ScanTask& task,
                                 const Vec<C>* rates, const Vec<C>* da, const Vec<C>* dd,
                                 const Vec<C>* ddt_bias) {
  const int64_t states = scan.in.shape.states;
  const int64_t base = task.b * scan.in.shape.channels + task.first;
  for (int v = 0; v * kLanes<C> < task.channels; ++v) {
    const int64_t channel = base + v * kLanes<C>;
    const int count = task.channels - v * kLanes<C>;
    store(scan.dd + channel, dd[v], count);
    store(scan.ddt_bias + channel, ddt_bias[v], count);
    for (int64_t n = 0; n < states; ++n) {
      const int64_t i = n * kGroupVectors<C> + v;
      store_column(scan.da_log + channel * states, states, n,
                   da[i] * rates[i] * static_cast<C>(kLn2), count);
    }
  }
}

// The task's tables over states, [N, kGroupVectors].
template <class C>
struct BackwardTables {
  Vec<C>*rates, *entering, *carry, *da;
};

template <class S, class C = Compute<S>>
inline void load_entering(const ScanBackward<S>& scan, const ScanTask& task, int64_t chunk,
                          Vec<C>* entering) {
  const ScanShape& shape = scan.in.shape;
  const int64_t chunks = (shape.time + kScanChunk - 1) / kScanChunk;
  const C* row = scan.entering + (task.b * chunks + chunk) * shape.states * shape.channels;
  row += task.first;
  for (int64_t n = 0; n < shape.states; ++n, row += shape.channels) {
    if (chunk > 0) prefetch<false>(row - shape.states * shape.channels, task.channels);
    for (int v = 0; v * kLanes<C> < task.channels; ++v) {
      entering[n * kGroupVectors<C> + v] = load(row + v * kLanes<C>, task.channels - v * kLanes<C>);
    }
  }
}

// All states of a chunk, block by block.
template <class S, class C = Compute<S>>
inline void scan_chunk_back(const ScanBackward<S>& scan, const ScanTask& task, int64_t t0,
                            int steps, const BackwardTables<C>& tables, const BackwardSteps<C>& of,
                            const BackwardBlock<C>& block) {
  constexpr int kVectors = kGroupVectors<C>;
  const ScanShape& shape = scan.in.shape;
  const bool* starts = scan.in.starts + task.b * shape.time + t0;
  const int64_t first_row = (task.group * shape.batch + task.b) * shape.time + t0;
  if (shape.states == 0) {
    for (int i = 0; i < kVectors * kStepStride; ++i) of.y[i] = of.du[i] = of.da_h[i] = Vec<C>{};
  }
  for_each_block<kBackwardBlock>(0, shape.states, [&]<int kBlock>(Count<kBlock>, int64_t n) {
    widen_block<kBlock>(scan.in.b, task.b, t0, steps, n, block.b);
    widen_block<kBlock>(scan.in.c, task.b, t0, steps, n, block.c);
    for (int i = 0; i < steps * kBlock; ++i) block.db[i] = block.dc[i] = Vec<C>{};
    for (int v = 0; v * kLanes<C> < task.channels; ++v) {
      const int64_t i = n * kVectors + v;
      const int row = v * kStepStride;
      const BackwardSteps<C> at_v{of.x + row,     of.delta + row, of.slope + row, of.dy + row,
                                  of.dgate + row, of.y + row,     of.du + row,    of.da_h + row};
      remake_block<kBlock, C>(n == 0, steps, starts, block, tables.rates + i, tables.entering + i,
                              at_v);
      reverse_block<kBlock, C>(n == 0, steps, starts, block, tables.rates + i, tables.entering + i,
                               at_v, tables.carry + i, tables.da + i);
    }
    const int64_t out = first_row * shape.states + n;
    store_lane_sums<kBlock, C>(steps, block.db, scan.db + out, shape.states);
    store_lane_sums<kBlock, C>(steps, block.dc, scan.dc + out, shape.states);
  });
}

template <class C>
inline BackwardSteps<C> carve_steps(Carver& carver) {
  Vec<C>* parts[8];
  for (Vec<C>*& part : parts) part = carver.take<Vec<C>>(kGroupVectors<C> * kStepStride);
  return {parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], parts[6], parts[7]};
}

template <class C>
inline BackwardBlock<C> carve_block(Carver& carver) {
  constexpr int kSize = kScanChunk * kBackwardBlock;
  Vec<C>* parts[4];
  for (Vec<C>*& part : parts) part = carver.take<Vec<C>>(kSize);
  C* const b = carver.take<C>(kSize);
  C* const c = carver.take<C>(kSize);
  return {parts[0], parts[1], parts[2], parts[3], b, c};
}

template <class S>
void scan_backward_task(const ScanBackward<S>& scan, int64_t index, void* workspace) {
  using C = Compute<S>;
  constexpr int kVectors = kGroupVectors<C>;
  const ScanShape& shape = scan.in.shape;
  const ScanTask task = scan_task(shape, index);
  const int64_t table = shape.states * kVectors;
  Carver carver(workspace);
  Vec<C>* parts[4];
  for (Vec<C>*& part : parts) part = carver.take<Vec<C>>(table);
  const BackwardTables<C> tables{parts[0], parts[1], parts[2], parts[3]};
  const BackwardSteps<C> of = carve_steps<C>(carver);
  const BackwardBlock<C> block = carve_block<C>(carver);
  Vec<C> dd[kVectors] = {}, ddt_bias[kVectors] = {};
  load_decay_rates<S>(scan.in, task, tables.rates);
  for (int64_t i = 0; i < table; ++i) tables.carry[i] = tables.da[i] = Vec<C>{};

  const int64_t chunks = (shape.time + kScanChunk - 1) / kScanChunk;
  for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
    const int64_t t0 = chunk * kScanChunk, left = shape.time - t0;
    const int steps = static_cast<int>(left < kScanChunk ? left : kScanChunk);
    const bool full = task.channels == kScanGroup;
    if (full) {
      load_backward_steps<true>(scan, task, t0, steps, of);
    } else {
      load_backward_steps<false>(scan, task, t0, steps, of);
    }
    load_entering<S>(scan, task, chunk, tables.entering);
    scan_chunk_back<S>(scan, task, t0, steps, tables, of, block);
    if (full) {
      store_backward_steps<true>(scan, task, t0, steps, of, dd, ddt_bias);
    } else {
      store_backward_steps<false>(scan, task, t0, steps, of, dd, ddt_bias);
    }
  }
  store_parameter_sums<S>(scan, task, tables.rates, tables.da, dd, ddt_bias);
}

}  // namespace weft::cpu::WEFT_ISA
