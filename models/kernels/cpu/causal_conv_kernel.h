#pragma once
// The causal convolution for one task. `tap` j is the number of tokens that it reaches back: its
// weight is weight[c, K - 1 - j]. Included as cpu/vector.h is.
#include "models/kernels/cpu/causal_conv.h"
#include "models/kernels/cpu/rows.h"
#include "models/kernels/cpu/vector_math.h"

namespace weft::cpu::WEFT_ISA {

template <class C>
constexpr int kConvVectors = kConvGroup / kLanes<C>;

// Tokens t0 .. t0 + steps - 1 of row `b`, channels first .. first + channels - 1.
struct ConvTask {
  int64_t b, tile, t0, first;
  int steps, channels;
};

inline ConvTask conv_task(const ConvShape& shape, int64_t index) {
  const int64_t groups = (shape.channels + kConvGroup - 1) / kConvGroup;
  const int64_t tiles = (shape.time + kConvSteps - 1) / kConvSteps;
  const int64_t tile = index / groups, t0 = tile % tiles * kConvSteps;
  const int64_t first = index % groups * kConvGroup;
  const int64_t time_left = shape.time - t0, channels_left = shape.channels - first;
  return {tile / tiles,
          tile,
          t0,
          first,
          static_cast<int>(time_left < kConvSteps ? time_left : kConvSteps),
          static_cast<int>(channels_left < kConvGroup ? channels_left : kConvGroup)};
}

// How many tokens back the window of token t reaches inside its document: at most K - 1.
template <class S>
inline int window_reach(const ConvInputs<S>& in, int64_t b, int64_t t) {
  const bool* starts = in.starts + b * in.shape.time;
  int reach = 0;
  while (reach < in.shape.taps - 1 && reach < t && !starts[t - reach]) ++reach;
  return reach;
}

// Weights by tap, [K, kConvVectors], and bias [kConvVectors].
template <class C>
struct ConvParameters {
  Vec<C>*weight, *bias;
};

template <class S, class C = Compute<S>>
inline ConvParameters<C> load_conv_parameters(const ConvInputs<S>& in, const ConvTask& task,
                                              Carver& carver) {
  const int64_t taps = in.shape.taps;
  Vec<C>* const weight = carver.take<Vec<C>>(taps * kConvVectors<C>);
  Vec<C>* const bias = carver.take<Vec<C>>(kConvVectors<C>);
  for (int v = 0; v * kLanes<C> < task.channels; ++v) {
    const int64_t channel = task.first + v * kLanes<C>;
    const int count = task.channels - v * kLanes<C>;
    bias[v] = in.bias == nullptr ? Vec<C>{} : load(in.bias + channel, count);
    if (taps == 4 && count >= kLanes<C>) {
      Vec<C> columns[4];
      load_four_columns(in.weight + channel * taps, columns);
      for (int j = 0; j < 4; ++j) weight[j * kConvVectors<C> + v] = columns[3 - j];
      continue;
    }
    for (int64_t j = 0; j < taps; ++j) {
      weight[j * kConvVectors<C> + v] =
          load_column(in.weight + channel * taps, taps, taps - 1 - j, count);
    }
  }
  return {weight, bias};
}

// The sum before silu of one vector of channels: x at the current token, earlier ones at -stride.
// kTaps is their number where known when compiled, else 0.
template <int kTaps, class S, class C = Compute<S>>
inline Vec<C> convolve(const S* x, int64_t stride, int count, const Vec<C>* weight, Vec<C> bias,
                       int taps) {
  Vec<C> sum = bias;
#pragma GCC unroll 4
  for (int j = 0; j < (kTaps > 0 ? kTaps : taps); ++j) {
    sum += weight[j * kConvVectors<C>] * load(x - j * stride, count);
  }
  return sum;
}

// f(v, count, sum before silu) for all vectors of token t.
template <int kTaps, class S, class F>
inline void convolve_token(const ConvInputs<S>& in, const ConvTask& task, int64_t t, int taps,
                           const ConvParameters<Compute<S>>& parameters, const F& f) {
  using C = Compute<S>;
  const S* x = at(in.x, task.b, t, task.first);
  for (int v = 0; v * kLanes<C> < task.channels; ++v) {
    const int count = task.channels - v * kLanes<C>;
    f(v, count,
      convolve<kTaps, S>(x + v * kLanes<C>, in.x.row_stride, count, parameters.weight + v,
                         parameters.bias[v], taps));
  }
}

// The same, with the window's length chosen.
template <class S, class F>
inline void for_each_sum(const ConvInputs<S>& in, const ConvTask& task, int64_t t,
                         const ConvParameters<Compute<S>>& parameters, const F& f) {
  const int taps = window_reach(in, task.b, t) + 1;
  if (taps == 4) return convolve_token<4>(in, task, t, taps, parameters, f);
  if (taps == 3) return convolve_token<3>(in, task, t, taps, parameters, f);
  if (taps == 2) return convolve_token<2>(in, task, t, taps, parameters, f);
  convolve_token<0>(in, task, t, taps, parameters, f);
}

// One token after a window, for a group of channels of all rows: sums in the order of convolve.
template <class S>
inline void conv_step_group(const ConvStep<S>& conv, const ConvTask& task, void* workspace) {
  using C = Compute<S>;
  const ConvShape& shape = conv.in.shape;
  const int64_t kept = shape.taps - 1;
  Carver carver(workspace);
  const ConvParameters<C> parameters = load_conv_parameters(conv.in, task, carver);
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int v = 0; v * kLanes<C> < task.channels; ++v) {
      const int64_t channel = task.first + v * kLanes<C>;
      const int count = task.channels - v * kLanes<C>;
      const Vec<C> x = load(at(conv.in.x, b, 0, channel), count);
      Vec<C> newer = x, sum = parameters.bias[v] + parameters.weight[v] * x;
      for (int64_t j = 1; j <= kept; ++j) {
        S* row = conv.window + (b * kept + kept - j) * shape.channels + channel;
        const Vec<C> old = conv.in.starts[b] ? Vec<C>{} : load(row, count);
        sum += parameters.weight[j * kConvVectors<C> + v] * old;
        store(row, newer, count);
        newer = old;
      }
      store(at(conv.y, b, 0, channel), sum * sigmoid<C>(sum), count);
    }
  }
}

template <class S>
void conv_step_channels(const ConvStep<S>& conv, int64_t begin, int64_t end, void* workspace) {
  ConvTask task = {};
  for (task.first = begin; task.first < end; task.first += task.channels) {
    const int64_t left = end - task.first;
    task.channels = static_cast<int>(left < kConvGroup ? left : kConvGroup);
    conv_step_group(conv, task, workspace);
  }
}

template <class S>
void conv_forward_task(const ConvForward<S>& conv, int64_t index, void* workspace) {
  using C = Compute<S>;
  const ConvTask task = conv_task(conv.in.shape, index);
  Carver carver(workspace);
  const ConvParameters<C> parameters = load_conv_parameters(conv.in, task, carver);
  for (int64_t t = task.t0; t < task.t0 + task.steps; ++t) {
    S* y = at(conv.y, task.b, t, task.first);
    for_each_sum(conv.in, task, t, parameters, [&](int v, int count, Vec<C> sum) {
      store(y + v * kLanes<C>, sum * sigmoid<C>(sum), count);
    });
  }
}

// ds, the gradient before silu, of the tile's tokens and the K - 1 behind it: [rows, kConvVectors].
template <class S, class C = Compute<S>>
inline void load_conv_gradient(const ConvBackward<S>& conv, const ConvTask& task, int rows,
                               const ConvParameters<C>& parameters, Vec<C>* ds) {
  for (int i = 0; i < rows; ++i) {
    const S* dy = at(conv.dy, task.b, task.t0 + i, task.first);
    for_each_sum(conv.in, task, task.t0 + i, parameters, [&](int v, int count, Vec<C> sum) {
      const Vec<C> gate = sigmoid<C>(sum);
      ds[i * kConvVectors<C> + v] =
          load(dy + v * kLanes<C>, count) * gate * (C(1) + sum * (C(1) - gate));
    });
  }
}

// dx of vector v for the tile; ahead[i] is how many tokens behind token i see it.
template <int kTaps, class S, class C = Compute<S>>
inline void store_conv_dx(const ConvBackward<S>& conv, const ConvTask& task, int v,
                          const int* ahead, const Vec<C>* weight, const Vec<C>* ds) {
  const int count = task.channels - v * kLanes<C>;
  S* dx = at(conv.dx, task.b, task.t0, task.first + v * kLanes<C>);
  for (int i = 0; i < task.steps; ++i, dx += conv.dx.row_stride) {
    Vec<C> sum = {};
    if (kTaps > 0 && ahead[i] == kTaps - 1) {
#pragma GCC unroll 4
      for (int j = 0; j < kTaps; ++j) {
        sum += weight[j * kConvVectors<C>] * ds[(i + j) * kConvVectors<C>];
      }
    } else {
      for (int j = 0; j <= ahead[i]; ++j) {
        sum += weight[j * kConvVectors<C>] * ds[(i + j) * kConvVectors<C>];
      }
    }
    store(dx, sum, count);
  }
}

// The tile's part of dweight for tap j and vector v.
template <class S, class C = Compute<S>>
inline Vec<C> conv_dweight(const ConvBackward<S>& conv, const ConvTask& task, int v, int j,
                           const int* reach, const Vec<C>* ds) {
  const Rows<const S>& x = conv.in.x;
  const int count = task.channels - v * kLanes<C>;
  const S* base = at(x, task.b, task.t0, task.first + v * kLanes<C>);
  Vec<C> sum = {};
  for (int i = 0; i < task.steps; ++i) {
    if (j <= reach[i]) sum += ds[i * kConvVectors<C>] * load(base + (i - j) * x.row_stride, count);
  }
  return sum;
}

template <class S, class C = Compute<S>>
inline void store_conv_parameter_sums(const ConvBackward<S>& conv, const ConvTask& task, int v,
                                      const int* reach, const Vec<C>* ds) {
  const int64_t taps = conv.in.shape.taps;
  const int count = task.channels - v * kLanes<C>;
  const int64_t channel = task.tile * conv.in.shape.channels + task.first + v * kLanes<C>;
  Vec<C> dbias = {};
  for (int i = 0; i < task.steps; ++i) dbias += ds[i * kConvVectors<C>];
  store(conv.dbias + channel, dbias, count);
  for (int64_t j = 0; j < taps; ++j) {
    C lanes[kLanes<C>];
    store_full(lanes, conv_dweight<S>(conv, task, v, static_cast<int>(j), reach, ds));
    for (int lane = 0; lane < kLanes<C> && lane < count; ++lane) {
      conv.dweight[(channel + lane) * taps + taps - 1 - j] = lanes[lane];
    }
  }
}

template <class S>
void conv_backward_task(const ConvBackward<S>& conv, int64_t index, void* workspace) {
  using C = Compute<S>;
  const ConvShape& shape = conv.in.shape;
  const ConvTask task = conv_task(shape, index);
  const int64_t behind = shape.time - task.t0 - task.steps;
  const int rows = task.steps + static_cast<int>(behind < shape.taps - 1 ? behind : shape.taps - 1);
  Carver carver(workspace);
  const ConvParameters<C> parameters = load_conv_parameters(conv.in, task, carver);
  Vec<C>* const ds = carver.take<Vec<C>>(rows * kConvVectors<C>);
  int* const reach = carver.take<int>(rows);
  int* const ahead = carver.take<int>(task.steps);
  load_conv_gradient<S>(conv, task, rows, parameters, ds);
  for (int i = 0; i < rows; ++i) reach[i] = window_reach(conv.in, task.b, task.t0 + i);
  for (int i = 0; i < task.steps; ++i) {
    ahead[i] = 0;
    while (i + ahead[i] + 1 < rows && reach[i + ahead[i] + 1] > ahead[i]) ++ahead[i];
  }
  for (int v = 0; v * kLanes<C> < task.channels; ++v) {
    const Vec<C>* weight = parameters.weight + v;
    if (shape.taps == 4) {
      store_conv_dx<4, S>(conv, task, v, ahead, weight, ds + v);
    } else {
      store_conv_dx<0, S>(conv, task, v, ahead, weight, ds + v);
    }
    store_conv_parameter_sums<S>(conv, task, v, reach, ds + v);
  }
}

}  // namespace weft::cpu::WEFT_ISA
