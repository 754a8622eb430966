#pragma once
// The scan of a single token with a state, for decoding: a task is a group of channels for all rows
// of the batch, which share the exponentials of a_log where the caller has not kept them. Vectors
// run over states, as a_log and the state lie, so that nothing is transposed but the sums of C h.
// Bound by arithmetic at Bz = 1, an exponential or two a state. Included as cpu/vector.h is.
#include "models/kernels/cpu/selective_scan_steps.h"

namespace weft::cpu::WEFT_ISA {

// Vectors of a row of states, the last one padded with zeros.
template <class C>
inline int step_vectors(int states) {
  return (states + kLanes<C> - 1) / kLanes<C>;
}

// The task's tables. rates [channels, vectors], b and c [vectors] over states; delta and u
// [kScanGroup] over channels.
template <class C>
struct StepTables {
  Vec<C>*rates, *b, *c;
  C *delta, *u;
};

// Step sizes of all channels, and what they make of x.
template <class S, class C = Compute<S>>
inline void load_step(const ScanInputs<S>& in, const ScanTask& task, const StepTables<C>& of) {
  const S* dt = at(in.dt, task.b, 0, task.first);
  const S* x = at(in.x, task.b, 0, task.first);
  for (int channel = 0; channel < task.channels; channel += kLanes<C>) {
    const int count = task.channels - channel;
    const Vec<C> bias = load(in.dt_bias + task.first + channel, count);
    const Vec<C> delta = softplus<C>(load(dt + channel, count) + bias).value;
    store_full(of.delta + channel, delta);
    store_full(of.u + channel, delta * load(x + channel, count));
  }
}

// Steps the states of one channel and returns the terms of sum C h, one a lane. `before` is null
// where the state is zero; it may be `after`. kFull: states fill their vectors, so that no lane has
// to be looked at.
template <bool kFull, class C>
inline Vec<C> step_channel(int states, int channel, const StepTables<C>& of, const C* before,
                           C* after) {
  const Vec<C>* rates = of.rates + channel * step_vectors<C>(states);
  const C delta = of.delta[channel], u = of.u[channel];
  Vec<C> sum = {};
  for (int n = 0, i = 0; n < states; n += kLanes<C>, ++i) {
    const int count = kFull ? kLanes<C> : states - n;
    const Vec<C> decay = exp2_nonpositive<C>(delta * rates[i]);
    const Vec<C> old = before == nullptr ? Vec<C>{} : load(before + n, count);
    const Vec<C> h = decay * old + u * of.b[i];
    store(after + n, h, count);
    sum += h * of.c[i];
  }
  return sum;
}

// One row of the batch.
template <bool kFull, class S, class C = Compute<S>>
inline void scan_step_row(const ScanForward<S>& scan, const ScanTask& task,
                          const StepTables<C>& of) {
  const ScanInputs<S>& in = scan.in;
  const int states = static_cast<int>(in.shape.states);
  const int vectors = step_vectors<C>(states);
  const bool from_zero = scan.initial_state == nullptr || in.starts[task.b];
  const int64_t row = (task.b * in.shape.channels + task.first) * states;
  const S* z_row = at(in.z, task.b, 0, task.first);
  S* y = at(scan.y, task.b, 0, task.first);
  // The next group's rates and states lie too far from this one's for the processor to see them
  // coming; asked for a channel at a time, at least their first lines arrive beside the arithmetic.
  const bool more = task.first + kScanGroup < in.shape.channels;
  const C* next_state = (scan.initial_state == nullptr ? scan.final_state : scan.initial_state) +
                        row + int64_t{kScanGroup} * states;
  const C* next_table = (in.a != nullptr ? in.a : in.a_log) + (task.first + kScanGroup) * states;
  load_step(in, task, of);
  for (int i = 0, n = 0; i < vectors; ++i, n += kLanes<C>) {
    of.b[i] = load(at(in.b, task.b, 0, n), states - n);
    of.c[i] = load(at(in.c, task.b, 0, n), states - n);
  }
  for (int first = 0; first < task.channels; first += kLanes<C>) {
    const int count = task.channels - first;
    Vec<C> sums[kLanes<C>];
    for (int lane = 0; lane < kLanes<C>; ++lane) {
      const int channel = first + lane;
      if (more) {
        __builtin_prefetch(next_state + channel * states);
        __builtin_prefetch(next_table + channel * states);
      }
      const int64_t state = row + int64_t{channel} * states;
      sums[lane] = lane >= count
                       ? Vec<C>{}
                       : step_channel<kFull>(states, channel, of,
                                             from_zero ? nullptr : scan.initial_state + state,
                                             scan.final_state + state);
    }
    const Vec<C> x = load(at(in.x, task.b, 0, task.first + first), count);
    const Vec<C> d = load(in.d + task.first + first, count);
    const Vec<C> z = load(z_row + first, count);
    store(y + first, (sum_lanes<C>(sums) + d * x) * z * sigmoid<C>(z), count);
  }
}

template <class S>
void scan_step_task(const ScanForward<S>& scan, int64_t group, void* workspace) {
  using C = Compute<S>;
  const ScanShape& shape = scan.in.shape;
  const int states = static_cast<int>(shape.states);
  const int vectors = step_vectors<C>(states);
  ScanTask task = scan_task(shape, group);  // row 0; the others follow
  Carver carver(workspace);
  const StepTables<C> of{carver.take<Vec<C>>(kScanGroup * vectors), carver.take<Vec<C>>(vectors),
                         carver.take<Vec<C>>(vectors), carver.take<C>(kScanGroup),
                         carver.take<C>(kScanGroup)};
  const C* table = scan.in.a != nullptr ? scan.in.a : scan.in.a_log;
  for (int channel = 0; channel < task.channels; ++channel) {
    const C* row = table + (task.first + channel) * states;
    for (int i = 0, n = 0; i < vectors; ++i, n += kLanes<C>) {
      const Vec<C> entry = load(row + n, states - n);
      const Vec<C> a = scan.in.a != nullptr ? entry : -exp<C>(entry);
      of.rates[channel * vectors + i] = a * static_cast<C>(kLog2E);
    }
  }
  for (task.b = 0; task.b < shape.batch; ++task.b) {
    if (states % kLanes<C> == 0) {
      scan_step_row<true>(scan, task, of);
    } else {
      scan_step_row<false>(scan, task, of);
    }
  }
}

}  // namespace weft::cpu::WEFT_ISA
