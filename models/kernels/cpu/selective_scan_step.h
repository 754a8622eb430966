#pragma once
// The scan of a single token with a state, for decoding: a task is a group of channels for all rows
// of the batch, which share the exponentials of a_log where the caller has not kept them. Where it
// has, they are read as they are used: a table of them would drive states out of the first cache.
// Vectors run over states, as a_log and the state lie, so that nothing is transposed but the sums
// of C h. Bound by arithmetic at Bz = 1, an exponential or two a state. Included as cpu/vector.h
// is.
#include "models/kernels/cpu/selective_scan_steps.h"

namespace weft::cpu::WEFT_ISA {

// The first lines of states and rates are asked for so many channels ahead, beyond the last channel
// too, where nothing comes of it: that leaves them some 0.4 us, and takes little of the first
// cache.
constexpr int kChannelsAhead = 32;

// Vectors of a row of states, the last one padded with zeros.
template <class C>
inline int step_vectors(int states) {
  return (states + kLanes<C> - 1) / kLanes<C>;
}

// The task's tables. rates [channels, vectors], unless they are read as they are kept; b and c
// [vectors] over states; delta and u [kScanGroup] over channels.
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
// to be looked at. rate(channel, i) is vector i of its A log2(e).
template <bool kFull, class C, class Rate>
inline Vec<C> step_channel(int states, int channel, const StepTables<C>& of, const Rate& rate,
                           const C* before, C* after) {
  const C delta = of.delta[channel], u = of.u[channel];
  Vec<C> sum = {};
  for (int n = 0, i = 0; n < states; n += kLanes<C>, ++i) {
    const int count = kFull ? kLanes<C> : states - n;
    const Vec<C> decay = exp2_nonpositive<C>(delta * rate(channel, i));
    const Vec<C> old = before == nullptr ? Vec<C>{} : load(before + n, count);
    const Vec<C> h = decay * old + u * of.b[i];
    store(after + n, h, count);
    sum += h * of.c[i];
  }
  return sum;
}

// One row of the batch.
template <bool kFull, class S, class Rate, class C = Compute<S>>
inline void scan_step_row(const ScanForward<S>& scan, const ScanTask& task, const StepTables<C>& of,
                          const Rate& rate) {
  const ScanInputs<S>& in = scan.in;
  const int states = static_cast<int>(in.shape.states);
  const int vectors = step_vectors<C>(states);
  const bool from_zero = scan.initial_state == nullptr || in.starts[task.b];
  const int64_t row = (task.b * in.shape.channels + task.first) * states;
  const S* z_row = at(in.z, task.b, 0, task.first);
  S* y = at(scan.y, task.b, 0, task.first);
  const C* state_ahead = (scan.initial_state == nullptr ? scan.final_state : scan.initial_state) +
                         row + int64_t{kChannelsAhead} * states;
  const C* table_ahead =
      (in.a != nullptr ? in.a : in.a_log) + (task.first + kChannelsAhead) * states;
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
      __builtin_prefetch(state_ahead + channel * states);
      __builtin_prefetch(table_ahead + channel * states);
      const int64_t state = row + int64_t{channel} * states;
      sums[lane] = lane >= count
                       ? Vec<C>{}
                       : step_channel<kFull>(states, channel, of, rate,
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
  const bool full = states % kLanes<C> == 0;
  const C* table = scan.in.a != nullptr ? scan.in.a : scan.in.a_log;
  if (scan.in.a != nullptr && full) {
    const auto rate = [a = table + task.first * states, states](int channel, int i) {
      return load_full(a + channel * states + i * kLanes<C>) * static_cast<C>(kLog2E);
    };
    for (task.b = 0; task.b < shape.batch; ++task.b) scan_step_row<true>(scan, task, of, rate);
    return;
  }
  for (int channel = 0; channel < task.channels; ++channel) {
    const C* row = table + (task.first + channel) * states;
    for (int i = 0, n = 0; i < vectors; ++i, n += kLanes<C>) {
      const Vec<C> entry = load(row + n, states - n);
      const Vec<C> a = scan.in.a != nullptr ? entry : -exp<C>(entry);
      of.rates[channel * vectors + i] = a * static_cast<C>(kLog2E);
    }
  }
  const auto rate = [&](int channel, int i) { return of.rates[channel * vectors + i]; };
  for (task.b = 0; task.b < shape.batch; ++task.b) {
    if (full) {
      scan_step_row<true>(scan, task, of, rate);
    } else {
      scan_step_row<false>(scan, task, of, rate);
    }
  }
}

}  // namespace weft::cpu::WEFT_ISA
