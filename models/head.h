#pragma once
// From hidden states to the loss (spec/models.md 4; spec/methods.md 1.3).
#include "base/tensor.h"
#include "models/kernels/cross_entropy.h"

namespace weft {

// hidden [Bz, T, d], weight [V, d] -> logits [Bz, T, V] in fp32 (fp64). In bf16 the product is
// rounded to bf16 once.
Tensor head_logits(const Tensor& hidden, const Tensor& weight);

// Negative log-likelihood of each target in nats: logits [.., V] fp32 or fp64, targets [..] int64
// -> [..], 0 where a target is negative (ignored). No gradients.
Tensor token_nll(const Tensor& logits, const Tensor& targets);

// What is optimised: target * sum over targets of (negative log-likelihood + penalties). `target`
// is one over the targets of the whole step, known before the forward pass: the gradients are made
// there.
struct LossWeights {
  double target = 1;
  Penalties penalties = {};
};

// [] fp64 each.
struct HeadLoss {
  Tensor loss;                  // with its gradient
  Tensor nll_sum, penalty_sum;  // without weight, and without gradients
};

// The head and its loss over a slice of at most `rows` rows after the other, so that no more logits
// than those exist: hidden [n, d], weight [V, d] in any type (computed with in hidden's), targets
// [n] int64, negative where ignored. In bf16 the logits and their gradients (on a GPU also a
// slice's part of the weight's gradient) are rounded to bf16 once each; sums over slices are in
// fp32 (fp64), and rounded to the weight's type. The gradients of hidden and weight are made in the
// forward pass: three products where recomputing takes four. REQUIRES: it is differentiated at most
// once.
//
// Where `weight_gradient` [V, d] is defined, fp32 (fp64), the weight's gradient is added to it
// there and then, unrounded, and the weight itself gets none: it takes no memory of its own.
// REQUIRES then: every loss is differentiated, with a weight of 1.
HeadLoss head_loss(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                   const LossWeights& weights, int64_t rows, const Tensor& weight_gradient = {});

}  // namespace weft
