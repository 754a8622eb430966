#pragma once
// One new token attends to the keys and values before it. Bounded by reading these;
// the query heads of a group find them in the cache. Included as cpu/vector.h is.
#include "models/kernels/cpu/attention_step.h"
#include "models/kernels/cpu/rows.h"
#include "models/kernels/cpu/vector_math.h"

namespace weft::cpu::WEFT_ISA {

// x rotated and rounded to S, as it stands in the cache; without cos: as it is. The pair of a
// channel is half the width away, and sin has the sign of the rotation in it.
template <class S, class C = Compute<S>>
inline void rotate_to(S* to, const S* x, const S* cos, const S* sin, int64_t width) {
  if (cos == nullptr) {
    for (int64_t i = 0; i < width; ++i) to[i] = x[i];
    return;
  }
  const int64_t half = width / 2;
  for (int64_t i = 0; i < half; i += kLanes<C>) {
    const int count = half - i < kLanes<C> ? static_cast<int>(half - i) : kLanes<C>;
    const int64_t j = half + i;
    const Vec<C> a = load(x + i, count), b = load(x + j, count);
    store(to + i, a * load(cos + i, count) + b * load(sin + i, count), count);
    store(to + j, b * load(cos + j, count) + a * load(sin + j, count), count);
  }
}

// q . k[s] for kLanes slots from k on, of which `count` exist; the last of them stands for the
// others.
template <class S, class C = Compute<S>>
inline Vec<C> slot_scores(const C* q, const S* k, int count, int64_t width) {
  const S* slots[kLanes<C>];
  for (int s = 0; s < kLanes<C>; ++s) slots[s] = k + (s < count ? s : count - 1) * width;
  Vec<C> sums[kLanes<C>] = {};
  int64_t i = 0;
  for (; i + kLanes<C> <= width; i += kLanes<C>) {
    const Vec<C> channels = load_full(q + i);
#pragma GCC unroll 16
    for (int s = 0; s < kLanes<C>; ++s) sums[s] += channels * load_full(slots[s] + i);
  }
  if (i < width) {
    const int rest = static_cast<int>(width - i);
    const Vec<C> channels = load(q + i, rest);
    for (int s = 0; s < kLanes<C>; ++s) sums[s] += channels * load(slots[s] + i, rest);
  }
  return sum_lanes<C>(sums);
}

template <class C>
inline C largest_of(const C* values, int64_t count) {
  Vec<C> most = Vec<C>{} + values[0];
  int64_t i = 0;
  for (; i + kLanes<C> <= count; i += kLanes<C>) {
    const Vec<C> v = load_full(values + i);
    most = v > most ? v : most;
  }
  C lanes[kLanes<C>], largest = values[0];
  store_full(lanes, most);
  for (int j = 0; j < kLanes<C>; ++j) largest = lanes[j] > largest ? lanes[j] : largest;
  for (; i < count; ++i) largest = values[i] > largest ? values[i] : largest;
  return largest;
}

// values -> exp(values - largest), whose sum it returns.
template <class C>
inline C exponentials(C* values, int64_t count, C largest) {
  C lanes[kLanes<C>] = {}, sum = 0;
  for (int64_t i = 0; i < count; i += kLanes<C>) {
    const int some = count - i < kLanes<C> ? static_cast<int>(count - i) : kLanes<C>;
    store(values + i, exp<C>(load(values + i, some) - largest), some);
    store_full(lanes, load_full(lanes) + load(values + i, some));
  }
  for (int j = 0; j < kLanes<C>; ++j) sum += lanes[j];
  return sum;
}

// y[i] = sum over slots of weights[s] v[s][i], for kVectors vectors of channels (or `count` of the
// last one's, if it is fewer).
template <int kVectors, class S, class C = Compute<S>>
inline void weigh_values(const C* weights, const S* v, int64_t slots, int64_t width, C* y,
                         int count) {
  Vec<C> sums[kVectors] = {};
  for (int64_t s = 0; s < slots; ++s) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      const S* from = v + s * width + i * kLanes<C>;
      sums[i] += weights[s] * (kVectors > 1 ? load_full(from) : load(from, count));
    }
  }
  for (int i = 0; i < kVectors; ++i) {
    store(y + i * kLanes<C>, sums[i], kVectors > 1 ? kLanes<C> : count);
  }
}

template <class S, class C = Compute<S>>
inline void weigh_all_values(const C* weights, const S* v, int64_t slots, int64_t width, C* y) {
  int64_t i = 0;
  for (; i + 4 * kLanes<C> <= width; i += 4 * kLanes<C>) {
    weigh_values<4>(weights, v + i, slots, width, y + i, kLanes<C>);
  }
  for (; i < width; i += kLanes<C>) {
    const int count = width - i < kLanes<C> ? static_cast<int>(width - i) : kLanes<C>;
    weigh_values<1>(weights, v + i, slots, width, y + i, count);
  }
}

template <class S>
void attention_step_part(const AttentionStepRaw<S>& step, const AttentionParts<Compute<S>>& parts,
                         int64_t row, int64_t head, int64_t part, void* workspace) {
  using C = Compute<S>;
  const int64_t used = step.lengths[row] < step.slots ? step.lengths[row] + 1 : step.slots;
  const int64_t first = part * kSlotsPerPart;
  if (first >= used) return;
  const int64_t count = used - first < kSlotsPerPart ? used - first : kSlotsPerPart;
  const int64_t width = step.width, group = step.heads / step.kv_heads;
  const S* cos = step.cos == nullptr ? nullptr : step.cos + row * width;
  const S* sin = step.sin == nullptr ? nullptr : step.sin + row * width;
  const int64_t cached = row * step.cache_row_stride + head * step.cache_head_stride;
  S *k = step.k_cache + cached, *v = step.v_cache + cached;
  const int64_t slot = step.lengths[row] % step.slots;
  if (slot >= first && slot < first + count) {
    const int64_t fresh = (row * step.kv_heads + head) * width;
    rotate_to<S>(k + slot * width, step.k + fresh, cos, sin, width);
    rotate_to<S>(v + slot * width, step.v + fresh, nullptr, nullptr, width);
  }
  Carver carve(workspace);
  S* rotated = carve.take<S>(width);
  C* q = carve.take<C>(width);
  C* scores = carve.take<C>(kSlotsPerPart);
  const C scale = C(1) / __builtin_sqrt(static_cast<C>(width));
  for (int64_t h = head * group; h < (head + 1) * group; ++h) {
    rotate_to<S>(rotated, step.q + (row * step.heads + h) * width, cos, sin, width);
    for (int64_t i = 0; i < width; ++i) q[i] = widen(rotated[i]) * scale;
    for (int64_t s = 0; s < count; s += kLanes<C>) {
      const int some = count - s < kLanes<C> ? static_cast<int>(count - s) : kLanes<C>;
      store_full(scores + s, slot_scores<S>(q, k + (first + s) * width, some, width));
    }
    const int64_t out = (row * parts.parts + part) * step.heads + h;
    parts.largest[out] = largest_of(scores, count);
    parts.sum[out] = exponentials(scores, count, parts.largest[out]);
    weigh_all_values<S>(scores, v + first * width, count, width, parts.y + out * width);
  }
}

template <class S>
void attention_step_join(const AttentionStepRaw<S>& step, const AttentionParts<Compute<S>>& parts,
                         int64_t row) {
  using C = Compute<S>;
  const int64_t used = step.lengths[row] < step.slots ? step.lengths[row] + 1 : step.slots;
  const int64_t count = (used + kSlotsPerPart - 1) / kSlotsPerPart, width = step.width;
  for (int64_t h = 0; h < step.heads; ++h) {
    const int64_t begin = row * parts.parts * step.heads + h;
    C largest = parts.largest[begin], sum = 0;
    for (int64_t p = 1; p < count; ++p) {
      const C other = parts.largest[begin + p * step.heads];
      largest = other > largest ? other : largest;
    }
    for (int64_t p = 0; p < count; ++p) {
      const int64_t at = begin + p * step.heads;
      C lanes[kLanes<C>];
      store_full(lanes, exp<C>(Vec<C>{} + (parts.largest[at] - largest)));
      parts.largest[at] = lanes[0];  // from now on the part's weight
      sum += lanes[0] * parts.sum[at];
    }
    for (int64_t i = 0; i < width; i += kLanes<C>) {
      const int some = width - i < kLanes<C> ? static_cast<int>(width - i) : kLanes<C>;
      Vec<C> y = {};
      for (int64_t p = 0; p < count; ++p) {
        const int64_t at = begin + p * step.heads;
        y += parts.largest[at] * load(parts.y + at * width + i, some);
      }
      store(step.y + (row * step.heads + h) * width + i, y / sum, some);
    }
  }
}

}  // namespace weft::cpu::WEFT_ISA
