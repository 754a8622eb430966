#include "models/kernels/rotate.h"

#include <ATen/TensorOperators.h>

#include "models/kernels/cuda/partials.h"
#include "models/kernels/cuda/rotate.h"
#include "models/kernels/dispatch.h"
#include "tests/cuda_emulation/results.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

constexpr double kEps = 1e-5;
enum class Norm { kNone, kBefore };

// Heads 2 .. 4 of a joint projection's six.
struct Inputs {
  Tensor x, cos, sin, weight, dy;
};

Inputs inputs_of(int64_t batch, int64_t time, int64_t width, at::ScalarType type) {
  const auto part_of_joint = [&](double phase) {
    return fill({batch, time, 6, width}, phase).to(type).narrow(2, 2, 3);
  };
  const Tensor angles = fill({batch, time, 1, width}, 0.3);
  return {.x = part_of_joint(1),
          .cos = angles.cos().to(type),
          .sin = angles.sin().to(type),
          .weight = fill({width}, 2, 0.3, 1.0).to(wide_type(type)),
          .dy = part_of_joint(4)};
}

Inputs in_double(const Inputs& in) {
  const auto wide = [](const Tensor& t) { return t.to(at::kDouble); };
  return {wide(in.x), wide(in.cos), wide(in.sin), wide(in.weight), wide(in.dy)};
}

// y, dx and, with a norm, its weight's gradient, by the CPU's operator.
std::vector<Tensor> on_cpu(const Inputs& in, Norm norm) {
  const Tensor x = in.x.clone().set_requires_grad(true);
  const Tensor weight = in.weight.clone().set_requires_grad(true);
  const Tensor y = norm == Norm::kNone ? rotate(x, in.cos, in.sin)
                                       : norm_rotate(x, {weight, kEps}, in.cos, in.sin);
  y.backward(in.dy);
  std::vector<Tensor> results = {y.detach(), x.grad()};
  if (norm == Norm::kBefore) results.push_back(weight.grad());
  return results;
}

template <class S>
HeadRows<const S> heads_of(const Tensor& t) {
  return {values<const S>(t), t.stride(0), t.stride(1), t.stride(2)};
}

template <class S>
std::vector<Tensor> emulated_as(const Inputs& in, Norm norm) {
  using C = Compute<S>;
  const HeadsShape shape{in.x.size(0), in.x.size(1), in.x.size(2), in.x.size(3)};
  const Tensor y = blank(in.x.sizes(), in.x.scalar_type());
  const Tensor dx = blank(in.x.sizes(), in.x.scalar_type());
  const auto x = heads_of<S>(in.x), dy = heads_of<S>(in.dy);
  const auto cos = heads_of<S>(in.cos), sin = heads_of<S>(in.sin);
  if (norm == Norm::kNone) {
    cuda::rotate(HeadRotation<S>{shape, x, cos, sin, {}, values<S>(y), false}, nullptr);
    cuda::rotate(HeadRotation<S>{shape, dy, cos, sin, {}, values<S>(dx), true}, nullptr);
    return {y, dx};
  }
  const HeadNorm<S> raw_norm{values<const C>(in.weight), kEps};
  const int64_t tasks = cuda::rotate_tasks(shape);
  const Tensor partials = blank({tasks, shape.width}, in.weight.scalar_type());
  cuda::rotate(HeadRotation<S>{shape, x, cos, sin, raw_norm, values<S>(y), false}, nullptr);
  cuda::rotate(HeadRotationGradients<S>{shape, x, dy, cos, sin, raw_norm, values<S>(dx),
                                        values<C>(partials)},
               nullptr);
  const Tensor dweight = blank({shape.width}, in.weight.scalar_type());
  cuda::sum_partials<C>(values<const C>(partials), tasks, shape.width, values<C>(dweight), nullptr);
  return {y, dx, dweight};
}

void expect_as_exact_as_twin(const Inputs& in, Norm norm) {
  const auto ours = in_both_orders([&] {
    std::vector<Tensor> results;
    with_storage(in.x, [&](auto storage) { results = emulated_as<decltype(storage)>(in, norm); });
    return results;
  });
  expect_all_as_exact(ours, on_cpu(in, norm), on_cpu(in_double(in), norm));
}

TEST(RotateEmulated, IsAsExactAsItsCpuTwin) {
  for (const Norm norm : {Norm::kNone, Norm::kBefore}) {
    for (const int64_t width : {2, 64, 130}) {
      for (const at::ScalarType type : kStorageTypes) {
        SCOPED_TRACE(testing::Message() << type << " " << width);
        expect_as_exact_as_twin(inputs_of(2, 13, width, type), norm);
      }
    }
  }
}

TEST(RotateEmulated, TakesMoreHeadsThanTasksAndNone) {
  expect_as_exact_as_twin(inputs_of(1, 2740, 2, at::kFloat), Norm::kBefore);
  expect_as_exact_as_twin(inputs_of(2, 0, 4, at::kFloat), Norm::kBefore);
  expect_as_exact_as_twin(inputs_of(2, 0, 4, at::kFloat), Norm::kNone);
}

}  // namespace
}  // namespace weft
