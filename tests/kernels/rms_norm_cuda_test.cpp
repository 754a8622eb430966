#include <vector>

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "models/kernels/rms_norm.h"
#include "tests/kernels/cuda_device.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

struct Case {
  int64_t rows, width;
  at::ScalarType stream, added;
};

// Sum, norm and the gradients of x, added and weight, of inputs rounded to the case's types and
// computed with on `device` in `stream` and `added`.
std::vector<Tensor> run(const Case& c, at::Device device, at::ScalarType stream,
                        at::ScalarType added_type) {
  const auto leaf = [&](const Tensor& t, at::ScalarType from, at::ScalarType to) {
    return t.to(from).to(to).to(device).set_requires_grad(true);
  };
  const auto weight_type = stream == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor x = leaf(fill({c.rows, c.width}, 1), c.stream, stream);
  const Tensor added = leaf(fill({c.rows, c.width}, 4), c.added, added_type);
  const Tensor weight = leaf(fill({c.width}, 2, 0.3, 1.0), at::kFloat, weight_type);
  const AddedNorm out = add_rms_norm(x, added, weight, 1e-6);
  const auto asked = [&](const Tensor& t, double phase) {
    const Tensor dy = fill({c.rows, c.width}, phase).to(c.added).to(at::kDouble).to(device);
    return (t.to(at::kDouble) * dy).sum();
  };
  (asked(out.sum, 3) + asked(out.normed, 5)).backward();
  std::vector<Tensor> results = {out.sum, out.normed, x.grad(), added.grad(), weight.grad()};
  for (Tensor& t : results) t = t.detach().cpu();
  return results;
}

TEST(RmsNormCuda, IsAsExactAsItsCpuTwin) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const Case& c :
       {Case{3, 1, at::kFloat, at::kFloat}, Case{700, 59, at::kFloat, at::kFloat},
        Case{33, 1025, at::kFloat, at::kBFloat16}, Case{9000, 256, at::kBFloat16, at::kBFloat16}}) {
    const auto truth = run(c, at::kCPU, at::kDouble, at::kDouble);
    const auto twin = run(c, at::kCPU, c.stream, c.added);
    const auto there = run(c, at::kCUDA, c.stream, c.added);
    for (size_t i = 0; i < there.size(); ++i) expect_as_exact(there[i], twin[i], truth[i]);
  }
}

TEST(RmsNormCuda, ReadsRowsInPlaceAndTakesNone) {
  WEFT_NEEDS_CUDA_DEVICE();
  const Tensor wide = fill({2, 9, 50}, 1).to(at::kFloat).to(at::kCUDA);
  const Tensor weight = fill({20}, 2).to(at::kFloat).to(at::kCUDA);
  const Tensor part = wide.narrow(2, 11, 20);
  EXPECT_TRUE(rms_norm(part, weight, 1e-6).equal(rms_norm(part.contiguous(), weight, 1e-6)));
  EXPECT_EQ(rms_norm(part.narrow(1, 0, 0), weight, 1e-6).numel(), 0);
}

}  // namespace
}  // namespace weft
