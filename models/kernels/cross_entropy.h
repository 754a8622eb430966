#pragma once
// Cross-entropy of rows of logits, and its gradient in place of them (spec/models.md 4;
// spec/methods.md 1.3): one pass over memory where log_softmax, its loss and their gradients take
// six.
#include <optional>

#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// What is optimised beside a target's negative log-likelihood nll = lse - z[target].
struct Penalties {
  double z_loss = 0;  // times lse^2 (arXiv:2204.02311 5)
  // times z[target] - mean of z: the targets' distribution mixed with the uniform one
  // (arXiv:1512.00567 7).
  double label_smoothing = 0;

  bool operator==(const Penalties&) const = default;
};

// Of each row, in the wide type (fp32; fp64 for fp64); 0 where the target is ignored.
struct CrossEntropy {
  Tensor nll;      // [n], in nats
  Tensor penalty;  // [n]: what the penalties add to it
};

// logits [n, V] fp32, fp64 or bf16, contiguous; targets [n] int64, negative where ignored. With
// `gradient_scale`, logits becomes gradient_scale * d (sum of nll and penalty) / d logits, rounded
// once. No gradients flow through it. Deterministic for any number of threads. Errors: other shapes
// and types, and a target beyond V on the CPU, are a programmer's error.
CrossEntropy cross_entropy(Tensor& logits, const Tensor& targets, const Penalties& penalties,
                           std::optional<double> gradient_scale, cpu::Isa isa = cpu::best_isa());

// The same in plain operators: for tests and for devices without a kernel.
CrossEntropy cross_entropy_reference(Tensor& logits, const Tensor& targets,
                                     const Penalties& penalties,
                                     std::optional<double> gradient_scale);

}  // namespace weft
