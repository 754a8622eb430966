#pragma once
// Rotations of the heads of a token, with or without a norm of each head. Included as cpu/vector.h
// is.
#include "models/kernels/cpu/rms_norm_kernel.h"
#include "models/kernels/cpu/rotate.h"

namespace weft::cpu::WEFT_ISA {

template <class S>
S* token_of(const HeadRows<S>& of, int64_t b, int64_t t) {
  return of.data + b * of.batch_stride + t * of.token_stride;
}

// The cosines and sines of channels i and their partners i + half, as vectors.
template <class C>
struct Turn {
  Vec<C> cos_a, cos_b, sin_a, sin_b;
};

template <class S>
inline Turn<Compute<S>> turn_of(const S* cos, const S* sin, int64_t i, int64_t half, int count) {
  return {load(cos + i, count), load(cos + half + i, count), load(sin + i, count),
          load(sin + half + i, count)};
}

// Backward a channel gets what its partner took from it.
template <class C>
inline Turn<C> reversed(const Turn<C>& turn) {
  return {turn.cos_a, turn.cos_b, turn.sin_b, turn.sin_a};
}

template <class C>
inline Vec<C> turned_a(const Turn<C>& turn, Vec<C> a, Vec<C> b) {
  return a * turn.cos_a + b * turn.sin_a;
}
template <class C>
inline Vec<C> turned_b(const Turn<C>& turn, Vec<C> a, Vec<C> b) {
  return b * turn.cos_b + a * turn.sin_b;
}

template <class S>
void rotate_token(const HeadRotation<S>& of, int64_t b, int64_t t) {
  using C = Compute<S>;
  const int64_t width = of.shape.width, half = width / 2;
  const S *x = token_of(of.x, b, t), *cos = token_of(of.cos, b, t), *sin = token_of(of.sin, b, t);
  S* const y = of.y + (b * of.shape.time + t) * of.shape.heads * width;
  for_each_vector<C>(0, half, [&](int64_t i, int count) {
    Turn<C> turn = turn_of(cos, sin, i, half, count);
    if (of.backward) turn = reversed(turn);
    for (int64_t h = 0; h < of.shape.heads; ++h) {
      const S* const from = x + h * of.x.head_stride + i;
      S* const to = y + h * width + i;
      const Vec<C> a = load(from, count), partner = load(from + half, count);
      store(to, turned_a(turn, a, partner), count);
      store(to + half, turned_b(turn, a, partner), count);
    }
  });
}

template <class S>
inline Compute<S> head_scale(const S* x, int64_t width, double eps) {
  using C = Compute<S>;
  Vec<C> squares = {};
  for_each_vector<C>(0, width, [&](int64_t i, int count) {
    const Vec<C> v = load(x + i, count);
    squares += v * v;
  });
  return norm_scale<C>(squares, width, eps);
}

template <class S>
void norm_rotate_token(const HeadRotation<S>& of, int64_t b, int64_t t) {
  using C = Compute<S>;
  const int64_t width = of.shape.width, half = width / 2;
  const S *cos = token_of(of.cos, b, t), *sin = token_of(of.sin, b, t);
  for (int64_t h = 0; h < of.shape.heads; ++h) {
    const S* const x = token_of(of.x, b, t) + h * of.x.head_stride;
    S* const y = of.y + ((b * of.shape.time + t) * of.shape.heads + h) * width;
    const C scale = head_scale(x, width, of.norm.eps);
    const auto normed = [&](int64_t i, int count) {
      return through<S>(through<S>(load(x + i, count) * scale) *
                        through<S>(load(of.norm.weight + i, count)));
    };
    for_each_vector<C>(0, half, [&](int64_t i, int count) {
      const Turn<C> turn = turn_of(cos, sin, i, half, count);
      const Vec<C> a = normed(i, count), partner = normed(half + i, count);
      store(y + i, turned_a(turn, a, partner), count);
      store(y + half + i, turned_b(turn, a, partner), count);
    });
  }
}

template <class S>
void rotate_tokens(const HeadRotation<S>& of, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t b = i / of.shape.time, t = i % of.shape.time;
    of.norm.weight == nullptr ? rotate_token(of, b, t) : norm_rotate_token(of, b, t);
  }
}

// As rms_norm_backward_rows, with the gradient of the norm's output turned back from dy.
template <class S>
void norm_rotate_token_backward(const HeadRotationGradients<S>& of, int64_t b, int64_t t) {
  using C = Compute<S>;
  const int64_t width = of.shape.width, half = width / 2;
  const S *cos = token_of(of.cos, b, t), *sin = token_of(of.sin, b, t);
  for (int64_t h = 0; h < of.shape.heads; ++h) {
    const S* const x = token_of(of.x, b, t) + h * of.x.head_stride;
    const S* const dy = token_of(of.dy, b, t) + h * of.dy.head_stride;
    S* const dx = of.dx + ((b * of.shape.time + t) * of.shape.heads + h) * width;
    const C scale = head_scale(x, width, of.norm.eps);
    // f(channel, lanes, gradient of the norm there) for all channels.
    const auto for_gradients = [&](const auto& f) {
      for_each_vector<C>(0, half, [&](int64_t i, int count) {
        const Turn<C> turn = reversed(turn_of(cos, sin, i, half, count));
        const Vec<C> a = load(dy + i, count), partner = load(dy + half + i, count);
        f(i, count, turned_a(turn, a, partner));
        f(half + i, count, turned_b(turn, a, partner));
      });
    };
    const auto weight = [&](int64_t i, int count) {
      return through<S>(load(of.norm.weight + i, count));
    };
    Vec<C> products = {};
    for_gradients([&](int64_t i, int count, Vec<C> d) {
      products += d * weight(i, count) * load(x + i, count);
    });
    const double mean = sum_of_lanes<C>(products) / static_cast<double>(width);
    const C slope = static_cast<C>(mean) * scale * scale;
    for_gradients([&](int64_t i, int count, Vec<C> d) {
      const Vec<C> v = load(x + i, count);
      store(of.dweight + i, load(of.dweight + i, count) + d * through<S>(v * scale), count);
      store(dx + i, scale * (d * weight(i, count) - v * slope), count);
    });
  }
}

template <class S>
void rotate_tokens_backward(const HeadRotationGradients<S>& of, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    norm_rotate_token_backward(of, i / of.shape.time, i % of.shape.time);
  }
}

}  // namespace weft::cpu::WEFT_ISA
