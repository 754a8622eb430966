#include "models/kernels/rms_norm.h"

#include <optional>

#include <ATen/TensorOperators.h>

#include "models/kernels/cuda/partials.h"
#include "models/kernels/cuda/rms_norm.h"
#include "models/kernels/dispatch.h"
#include "tests/cuda_emulation/results.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr double kEps = 1e-2;  // large: the gradient of a row of one number is nothing else

struct Case {
  int64_t rows, width;
  at::ScalarType stream, normed;
  bool adds;
};

// All dense but for x; `added` and dsum are undefined where nothing is added.
struct Inputs {
  Tensor x, added, weight, dsum, dy;
};

Inputs inputs_of(const Case& c) {
  const auto made = [&](double phase, at::ScalarType type) {
    return fill({c.rows, c.width}, phase).to(type);
  };
  const Tensor wide = fill({c.rows, c.width + 5}, 1).to(c.stream);
  return {.x = wide.narrow(1, 2, c.width),
          .added = c.adds ? made(4, c.normed) : Tensor(),
          .weight = fill({c.width}, 2, 0.3, 1.0).to(wide_type(c.stream)),
          .dsum = c.adds ? made(3, c.stream) : Tensor(),
          .dy = made(5, c.normed)};
}

// Sum, norm and the gradients of x, added and weight, by the CPU's operator.
std::vector<Tensor> on_cpu(const Inputs& in) {
  const auto leaf = [](const Tensor& t) { return t.clone().set_requires_grad(true); };
  const Tensor x = leaf(in.x), weight = leaf(in.weight);
  if (!in.added.defined()) {
    const Tensor y = rms_norm(x, weight, kEps, in.dy.scalar_type());
    y.backward(in.dy);
    return {y.detach(), x.grad(), weight.grad()};
  }
  const Tensor added = leaf(in.added);
  const AddedNorm out = add_rms_norm(x, added, weight, kEps);
  // Both are exact in fp64.
  ((out.sum.to(at::kDouble) * in.dsum.to(at::kDouble)).sum() +
   (out.normed.to(at::kDouble) * in.dy.to(at::kDouble)).sum())
      .backward();
  return {out.normed.detach(), x.grad(), weight.grad(), out.sum.detach(), added.grad()};
}

Inputs in_double(const Inputs& in) {
  const auto wide = [](const Tensor& t) { return t.defined() ? t.to(at::kDouble) : t; };
  return {wide(in.x), wide(in.added), wide(in.weight), wide(in.dsum), wide(in.dy)};
}

template <class T>
T* maybe(const Tensor& t) {
  return t.defined() ? values<T>(t) : nullptr;
}

template <class S, class Y>
std::vector<Tensor> emulated_as(const Inputs& in, bool keeps_scale) {
  using C = Compute<S>;
  const int64_t rows = in.x.size(0), width = in.x.size(1);
  const auto like = [&](const Tensor& t) {
    return t.defined() ? blank({rows, width}, t.scalar_type()) : Tensor();
  };
  const Tensor y = like(in.dy), sum = in.added.defined() ? like(in.x) : Tensor();
  const Tensor scale = blank({rows}, in.weight.scalar_type());
  cuda::rms_norm(NormRows<S, Y>{.rows = rows,
                                .width = width,
                                .eps = kEps,
                                .x = values<const S>(in.x),
                                .x_stride = in.x.stride(0),
                                .added = maybe<const Y>(in.added),
                                .sum = maybe<S>(sum),
                                .weight = values<const C>(in.weight),
                                .y = values<Y>(y),
                                .scale = keeps_scale ? values<C>(scale) : nullptr},
                 nullptr);
  if (!keeps_scale) return {y};
  const Tensor normed = sum.defined() ? sum : in.x;
  const Tensor dx = like(in.x), dadded = like(in.added);
  const int64_t tasks = cuda::rms_norm_tasks(rows);
  const Tensor partials = blank({tasks, width}, in.weight.scalar_type());
  cuda::rms_norm(NormGradients<S, Y>{.rows = rows,
                                     .width = width,
                                     .x = values<const S>(normed),
                                     .x_stride = normed.stride(0),
                                     .weight = values<const C>(in.weight),
                                     .scale = values<const C>(scale),
                                     .dy = values<const Y>(in.dy),
                                     .dsum = maybe<const S>(in.dsum),
                                     .dx = values<S>(dx),
                                     .dadded = maybe<Y>(dadded),
                                     .dweight = values<C>(partials)},
                 nullptr);
  const Tensor dweight = blank({width}, in.weight.scalar_type());
  cuda::sum_partials<C>(values<const C>(partials), tasks, width, values<C>(dweight), nullptr);
  std::vector<Tensor> results = {y, dx, dweight};
  if (sum.defined()) results.insert(results.end(), {sum, dadded});
  return results;
}

std::vector<Tensor> emulated(const Inputs& in, bool keeps_scale = true) {
  return in_both_orders([&] {
    const at::ScalarType stream = in.x.scalar_type();
    if (stream == at::kDouble) return emulated_as<double, double>(in, keeps_scale);
    if (stream == at::kBFloat16) return emulated_as<Bf16, Bf16>(in, keeps_scale);
    return in.dy.scalar_type() == at::kFloat ? emulated_as<float, float>(in, keeps_scale)
                                             : emulated_as<float, Bf16>(in, keeps_scale);
  });
}

TEST(RmsNormEmulated, IsAsExactAsItsCpuTwin) {
  for (const auto& [stream, normed] :
       {std::pair{at::kFloat, at::kFloat}, std::pair{at::kFloat, at::kBFloat16},
        std::pair{at::kBFloat16, at::kBFloat16}, std::pair{at::kDouble, at::kDouble}}) {
    for (const auto& [rows, width] : {std::pair{3, 1}, std::pair{21, 59}, std::pair{9, 1025}}) {
      for (const bool adds : {false, true}) {
        SCOPED_TRACE(testing::Message() << stream << " " << normed << " " << rows << "x" << width);
        const Inputs in = inputs_of({rows, width, stream, normed, adds});
        const auto ours = emulated(in);
        expect_all_as_exact(ours, on_cpu(in), on_cpu(in_double(in)));
        EXPECT_TRUE(same_bits(emulated(in, /*keeps_scale=*/false)[0], ours[0]));
      }
    }
  }
}

TEST(RmsNormEmulated, TakesMoreRowsThanTasksAndNone) {
  const Inputs many = inputs_of({8200, 3, at::kFloat, at::kFloat, true});
  expect_all_as_exact(emulated(many), on_cpu(many), on_cpu(in_double(many)));
  EXPECT_EQ(emulated(inputs_of({0, 3, at::kFloat, at::kFloat, true}))[0].numel(), 0);
}

}  // namespace
}  // namespace weft
