#pragma once
// AdamW over the rows of a parameter store (arXiv:1711.05101): what the trainer calls once a step.
// Decay acts on the rows whose table entry says so. Read first in this folder.
//
//   Optimizer optimizer(config, store);
//   const double factor = clip_factor(gradient_norm(store), config.clip_norm);  // optim/clip.h
//   optimizer.update(step, learning_rate, factor);
#include <cstdint>
#include <string>
#include <vector>

#include "base/safetensors.h"
#include "base/schema.h"
#include "parallel/parameter_store.h"

namespace weft {

enum class OptimKind { kAdamW };
constexpr auto enum_names(OptimKind) { return std::array{EnumName{OptimKind::kAdamW, "adamw"}}; }

struct OptimConfig {
  OptimKind kind = OptimKind::kAdamW;
  std::vector<double> betas = {0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1.0;
  static void describe(auto& self, auto& schema) {
    schema.field("kind", self.kind, any(), "the optimiser");
    schema.field("betas", self.betas, Check{.low = 0, .high = 1, .high_open = true},
                 "decay rates of the two moments: [beta1, beta2]");
    schema.field("eps", self.eps, above(0), "added to the root of the second moment");
    schema.field(
        "weight_decay", self.weight_decay, within(0, 10),
        "decoupled decay of weight matrices and embedding (never norms, biases, A_log, D, dt)");
    schema.field("clip_norm", self.clip_norm, at_least(0),
                 "largest global gradient norm; 0: no clipping");
  }
};

// Checks that need more than one value.
void validate(const OptimConfig& config, Problems& problems);

class Optimizer final {
 public:
  // Moments start at zero. `store` must outlive the optimiser.
  Optimizer(const OptimConfig& config, ParameterStore& store);

  // One update of every master from gradient_scale * `gradient`, as update number `step` (0-based,
  // counts all updates of the run: bias correction uses step + 1) at learning rate `lr`, and of the
  // compute values with them. Leaves gradients zero.
  void update(int64_t step, double lr, double gradient_scale = 1);

  // The moments as logical tensors "<name>.m" and "<name>.v", sharing storage: for checkpoints, in
  // both directions.
  std::vector<NamedTensor> state() const;

 private:
  OptimConfig config_;
  ParameterStore& store_;
  std::vector<Tensor> m_, v_;  // [n] of each bucket of the store
};

}  // namespace weft
