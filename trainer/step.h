#pragma once
// The gradients of one update: forward and backward of every micro-batch, gradients summed, the
// global norm, clipping (spec/parallel.md 3.1). What to do about a bad update is trainer/guard.h's,
// the update itself optim/optimizer.h's.
#include <cstdint>
#include <string>
#include <vector>

#include "data/batch.h"
#include "models/causal_lm.h"
#include "optim/optimizer.h"
#include "parallel/parameter_store.h"

namespace weft {

struct StepResult {
  double loss = 0;         // nats per target, over the whole step
  double penalty = 0;      // what z-loss and label smoothing add to it
  double aux_loss = 0;     // weighted auxiliary losses, mean over the step's sequences
  double grad_norm = 0;    // before clipping
  double clip_factor = 1;  // what clipping multiplies the gradients by, in the update
  int64_t targets = 0;
  // Per MoE layer: the busiest expert's assignments over the mean (1 = balanced, E / k at worst).
  std::vector<double> expert_load;
};

// Leaves the gradient of (sum of nll and penalties) / targets + (sum of aux) / sequences in
// `store`, not clipped yet. REQUIRES: gradients are clear. A step without targets has loss
// 0.
StepResult compute_gradients(const CausalLM& model, ParameterStore& store,
                             const std::vector<Batch>& micro_batches, const Penalties& penalties,
                             double clip_norm);

}  // namespace weft
