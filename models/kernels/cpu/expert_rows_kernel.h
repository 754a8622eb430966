#pragma once
// Rows to experts and back. Included as cpu/vector.h is.
#include "models/kernels/cpu/expert_rows.h"
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

// kVectors vectors of a token's columns from `first` on, `lanes` of each.
template <class S, int kVectors>
inline void combine_columns(const CombineRows<S>& of, int64_t token, int64_t first, int lanes) {
  using C = Compute<S>;
  Vec<C> sums[kVectors] = {};
  for (int64_t a = token * of.top_k; a < (token + 1) * of.top_k; ++a) {
    const S* row = of.in + of.row[a] * of.width + first;
    const C weight = of.weights == nullptr ? C(1) : of.weights[a];
    for (int v = 0; v < kVectors; ++v) sums[v] += weight * load(row + v * kLanes<C>, lanes);
  }
  S* out = of.out + token * of.width + first;
  for (int v = 0; v < kVectors; ++v) store(out + v * kLanes<C>, sums[v], lanes);
}

template <class S>
void combine_rows(const CombineRows<S>& of, int64_t begin, int64_t end) {
  using C = Compute<S>;
  constexpr int kVectors = 4;  // for each look at an assignment
  constexpr int64_t kColumns = kVectors * kLanes<C>;
  for (int64_t token = begin; token < end; ++token) {
    int64_t i = 0;
    for (; i + kColumns <= of.width; i += kColumns) {
      combine_columns<S, kVectors>(of, token, i, kLanes<C>);
    }
    for_each_vector<C>(i, of.width, [&](int64_t column, int lanes) {
      combine_columns<S, 1>(of, token, column, lanes);
    });
  }
}

template <class S>
void spread_rows(const SpreadRows<S>& of, int64_t begin, int64_t end) {
  using C = Compute<S>;
  const auto bytes = static_cast<uint64_t>(of.width) * sizeof(S);
  for (int64_t r = begin; r < end; ++r) {
    const int64_t a = of.assignment[r];
    S* out = of.out + r * of.width;
    if (a < 0) {
      __builtin_memset(out, 0, bytes);
      continue;
    }
    const S* token = of.tokens + a / of.top_k * of.width;
    if (of.weights == nullptr) {
      __builtin_memcpy(out, token, bytes);
    } else {
      const C weight = of.weights[a];
      for_each_vector<C>(0, of.width, [&](int64_t i, int lanes) {
        store(out + i, weight * load(token + i, lanes), lanes);
      });
    }
    if (of.dots == nullptr) continue;
    const S* row = of.in + r * of.width;
    Vec<C> products = {};
    for_each_vector<C>(0, of.width, [&](int64_t i, int lanes) {
      products += load(token + i, lanes) * load(row + i, lanes);
    });
    of.dots[a] = static_cast<C>(sum_of_lanes<C>(products));
  }
}

}  // namespace weft::cpu::WEFT_ISA
