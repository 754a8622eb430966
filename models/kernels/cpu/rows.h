#pragma once
// Reading tensors of rows, and cutting up a workspace. Included as cpu/vector.h is.
#include "models/kernels/cpu/vector.h"

namespace weft::cpu::WEFT_ISA {

// Hands out parts of a workspace, each aligned to a vector.
class Carver {
 public:
  explicit Carver(void* workspace) : next_(static_cast<char*>(workspace)) {}
  template <class T>
  T* take(int64_t count) {
    T* part = reinterpret_cast<T*>(next_);
    next_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return part;
  }

 private:
  char* next_;
};

// Element (b, t, i) of a tensor of rows.
template <class S>
inline S* at(const Rows<S>& rows, int64_t b, int64_t t, int64_t i) {
  return rows.data + b * rows.batch_stride + t * rows.row_stride + i;
}

// Asks for `count` elements that will soon be read (or written: kWrite). Rows lie so far apart that
// the processor doesn't foresee the next one.
template <bool kWrite, class S>
inline void prefetch(S* from, int count) {
  constexpr int kLine = 64 / static_cast<int>(sizeof(S));
  for (int i = 0; i < count; i += kLine) __builtin_prefetch(from + i, kWrite ? 1 : 0, 2);
}

// Column n of a table [channels, columns] as a vector: lane i is row i, up to `count`.
template <class C>
inline Vec<C> load_column(const C* table, int64_t columns, int64_t n, int count) {
  C lanes[kLanes<C>] = {};
  for (int i = 0; i < count && i < kLanes<C>; ++i) lanes[i] = table[i * columns + n];
  return load_full(lanes);
}

// Lanes of two vectors of rows of four numbers: columns `kFirst` and kFirst + 1, half a vector
// each.
template <int kFirst, class V, int... I>
inline V two_of_four_columns(V a, V b, Indexes<I...>) {
  constexpr int kHalf = sizeof...(I) / 2;
  return __builtin_shufflevector(a, b,
                                 (I < kHalf ? 4 * I + kFirst : 4 * (I - kHalf) + kFirst + 1)...);
}
// The first (kSecond: second) half of both.
template <bool kSecond, class V, int... I>
inline V halves(V a, V b, Indexes<I...>) {
  constexpr int kLanes = sizeof...(I), kHalf = kLanes / 2, kShift = kSecond ? kHalf : 0;
  return __builtin_shufflevector(a, b, (I < kHalf ? I + kShift : I + kHalf + kShift)...);
}

// The four columns of a table [kLanes, 4]; scalar loads would take as long as what they are for.
template <class C>
inline void load_four_columns(const C* table, Vec<C> (&columns)[4]) {
  constexpr int kWidth = kLanes<C>;
  constexpr auto kAll = Indexes<__integer_pack(kWidth)...>{};
  const Vec<C> v[4] = {load_full(table), load_full(table + kWidth), load_full(table + 2 * kWidth),
                       load_full(table + 3 * kWidth)};
  const Vec<C> low[2] = {two_of_four_columns<0>(v[0], v[1], kAll),
                         two_of_four_columns<2>(v[0], v[1], kAll)};
  const Vec<C> high[2] = {two_of_four_columns<0>(v[2], v[3], kAll),
                          two_of_four_columns<2>(v[2], v[3], kAll)};
  for (int i = 0; i < 2; ++i) {
    columns[2 * i] = halves<false>(low[i], high[i], kAll);
    columns[2 * i + 1] = halves<true>(low[i], high[i], kAll);
  }
}

// The reverse: lanes up to `count` to rows of column n.
template <class C>
inline void store_column(C* table, int64_t columns, int64_t n, Vec<C> v, int count) {
  C lanes[kLanes<C>];
  store_full(lanes, v);
  for (int i = 0; i < count && i < kLanes<C>; ++i) table[i * columns + n] = lanes[i];
}

}  // namespace weft::cpu::WEFT_ISA
