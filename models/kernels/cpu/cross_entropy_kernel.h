#pragma once
// One row of a cross-entropy: the largest logit, the sum of the exponentials, and the gradient,
// each a pass over the row, which stays in the cache. Included as cpu/vector.h is.
#include "models/kernels/cpu/cross_entropy.h"
#include "models/kernels/cpu/vector_math.h"

namespace weft::cpu::WEFT_ISA {

// Vectors behind the end of a row have zeros in their last lanes.
template <class C>
inline Vec<C> with_lowest(Vec<C> v, int lanes) {
  for (int i = lanes; i < kLanes<C>; ++i) v[i] = -__builtin_huge_val();
  return v;
}

// Of those that are numbers: the sum of exponentials shows the others.
template <class S, class C = Compute<S>>
inline C largest_logit(const S* z, int64_t vocab) {
  Vec<C> largest = Vec<C>{} - static_cast<C>(__builtin_huge_val());
  for_each_vector<C>(0, vocab, [&](int64_t i, int lanes) {
    const Vec<C> v = with_lowest<C>(load(z + i, lanes), lanes);
    largest = v > largest ? v : largest;
  });
  C result = largest[0];
  for (int i = 1; i < kLanes<C>; ++i) result = largest[i] > result ? largest[i] : result;
  return result;
}

struct RowSums {
  double exponentials, logits;
};

// Sums of exp(z - largest), and of z where that is wanted; with `to` the exponentials are stored.
// Blocks are summed in the wide type, and their sums in fp64: a vocabulary has 128,000 terms.
template <class S, class C = Compute<S>>
inline RowSums sum_row(const S* z, int64_t vocab, C largest, bool sum_logits, C* to) {
  constexpr int64_t kBlock = 1024;
  RowSums sums = {0, 0};
  for (int64_t begin = 0; begin < vocab; begin += kBlock) {
    const int64_t end = begin + kBlock < vocab ? begin + kBlock : vocab;
    Vec<C> exponentials = {}, logits = {};
    for_each_vector<C>(begin, end, [&](int64_t i, int lanes) {
      const Vec<C> v = load(z + i, lanes);
      Vec<C> e = exp<C>(v - largest);
      if (to != nullptr) store(to + i, e, lanes);
      for (int j = lanes; j < kLanes<C>; ++j) e[j] = 0;
      exponentials += e;
      logits += v;
    });
    sums.exponentials += sum_of_lanes<C>(exponentials);
    if (sum_logits) sums.logits += sum_of_lanes<C>(logits);
  }
  return sums;
}

template <class S, class C = Compute<S>>
inline void fill_zeros(S* to, int64_t count) {
  for_each_vector<C>(0, count, [&](int64_t i, int lanes) { store(to + i, Vec<C>{}, lanes); });
}

template <class S>
void cross_entropy_row(const CrossEntropyRows<S>& rows, int64_t row, Compute<S>* workspace) {
  using C = Compute<S>;
  S* const z = rows.logits + row * rows.vocab;
  const int64_t target = rows.targets[row];
  rows.nll[row] = rows.penalty[row] = 0;
  if (target < 0) {
    if (rows.gradient) fill_zeros(z, rows.vocab);
    return;
  }
  const double smoothing = rows.label_smoothing, vocab = static_cast<double>(rows.vocab);
  const C largest = largest_logit(z, rows.vocab), chosen = widen(z[target]);
  const RowSums sums =
      sum_row(z, rows.vocab, largest, smoothing != 0, rows.gradient ? workspace : nullptr);
  // From the largest logit on, so that a sure prediction keeps its digits.
  const double log_sum = __builtin_log(sums.exponentials);
  const double lse = static_cast<double>(largest) + log_sum;
  rows.nll[row] =
      static_cast<C>(log_sum + (static_cast<double>(largest) - static_cast<double>(chosen)));
  rows.penalty[row] = static_cast<C>(
      rows.z_loss * lse * lse + smoothing * (static_cast<double>(chosen) - sums.logits / vocab));
  if (!rows.gradient) return;
  const C factor = static_cast<C>(rows.scale * (1 + 2 * rows.z_loss * lse) / sums.exponentials);
  const C uniform = static_cast<C>(rows.scale * smoothing / vocab);
  const C at_target =
      workspace[target] * factor - uniform - static_cast<C>(rows.scale * (1 - smoothing));
  for_each_vector<C>(0, rows.vocab, [&](int64_t i, int lanes) {
    store(z + i, load(workspace + i, lanes) * factor - uniform, lanes);
  });
  store(z + target, Vec<C>{} + at_target, 1);
}

}  // namespace weft::cpu::WEFT_ISA
