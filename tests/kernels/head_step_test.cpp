// Final norm and head of a few tokens, against the kernels of both, which have tests of their own.
#include "models/kernels/head_step.h"

#include <tuple>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "models/kernels/rms_norm.h"
#include "models/kernels/row_linear.h"
#include "tests/kernels/isas.h"
#include "tests/kernels/step_types.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

Tensor values_of(at::IntArrayRef sizes, double seed, at::ScalarType type) {
  return fill(sizes.vec(), seed).to(type);
}

TEST(HeadStep, EqualsItsPartsForAnyNumberOfThreads) {
  const at::NoGradGuard no_grad;
  for (const auto& [rows, d, vocab] :
       {std::tuple{1, 256, 4096}, {1, 512, 1001}, {3, 59, 77}, {8, 130, 1300}, {2, 1, 1}}) {
    for (const StepTypes& types : kStepTypes) {
      const RmsNormWeights norm = {values_of({d}, 1, wide_type(types.storage)) + 1, 1e-6};
      const Tensor head = values_of({vocab, d}, 2, types.storage);
      const Tensor x = values_of({rows, d}, 3, types.residual);
      const Tensor normed = rms_norm(x, norm.weight, norm.eps).to(types.storage);
      for (const cpu::Isa isa : supported_isas()) {
        const Tensor expected = row_linear(normed, head, {}, isa).to(wide_type(types.storage));
        for_thread_counts([&](int threads) {
          const Tensor logits = head_step(norm, head, x, isa);
          EXPECT_TRUE(logits.equal(expected)) << rows << " x " << vocab << ", " << threads;
        });
      }
    }
  }
}

TEST(HeadStep, NothingForNoToken) {
  const at::NoGradGuard no_grad;
  const Tensor logits = head_step({at::zeros({8}), 1e-6}, at::zeros({5, 8}), at::zeros({0, 8}));
  EXPECT_EQ(logits.sizes(), at::IntArrayRef({0, 5}));
}

TEST(HeadStepDeathTest, WrongUseIsAProgrammersError) {
  const RmsNormWeights norm = {at::zeros({8}), 1e-6};
  const Tensor head = at::zeros({5, 8}), x = at::zeros({1, 8});
  EXPECT_DEATH(head_step(norm, head, x), "head_step has no gradient");
  const at::NoGradGuard no_grad;
  EXPECT_DEATH(head_step(norm, head.to(at::kDouble), x), "x is CPUFloatType");
  EXPECT_DEATH(head_step(norm, head.t(), x), "head is .*\\[8, 5\\], expected");
  EXPECT_DEATH(head_step(norm, head[0], x), "the head is \\[8\\]");
  EXPECT_DEATH(head_step(norm, head, at::zeros({1, 9})), "norm is .*\\[8\\], expected .*\\[9\\]");
}

}  // namespace
}  // namespace weft
