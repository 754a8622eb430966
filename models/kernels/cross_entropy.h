#pragma once
// Cross-entropy of rows of logits, and its gradient in place of them (spec/models.md 4;
// spec/methods.md 1.3): no log_softmax, and no gradient beside the logits, is ever in memory.
#include <optional>

#include "base/schema.h"
#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// What is optimised beside a target's negative log-likelihood nll = lse - z[target].
struct Penalties {
  double z_loss = 0;  // times lse^2 (arXiv:2204.02311 5)
  // times z[target] - mean of z: the targets' distribution mixed with the uniform one
  // (arXiv:1512.00567 7).
  double label_smoothing = 0;

  static void describe(auto& self, auto& schema) {
    schema.field("z_loss", self.z_loss, at_least(0),
                 "times the square of each target's log-sum-exp of the logits: keeps them from "
                 "drifting (1e-4 in OpenELM and PaLM). Optimised beside the loss, and logged as "
                 "`penalty`");
    schema.field("label_smoothing", self.label_smoothing, within(0, 1),
                 "share of each target's probability that is spread over the whole vocabulary, as "
                 "a term beside the loss; logged as `penalty` too");
  }
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
// and types, and a target that is not below V, are a programmer's error; on a GPU such a target
// makes nll, penalty and the gradient of its row NaN.
CrossEntropy cross_entropy(Tensor& logits, const Tensor& targets, const Penalties& penalties,
                           std::optional<double> gradient_scale, cpu::Isa isa = cpu::best_isa());

// The same in plain operators, with a copy of the logits in the wide type: for tests and for
// devices without a kernel.
CrossEntropy cross_entropy_reference(Tensor& logits, const Tensor& targets,
                                     const Penalties& penalties,
                                     std::optional<double> gradient_scale);

}  // namespace weft
