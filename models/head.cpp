#include "models/head.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>

namespace weft {

Tensor head_logits(const Tensor& hidden, const Tensor& weight) {
  const Tensor logits = at::linear(hidden, weight.to(hidden.scalar_type()));
  return logits.scalar_type() == at::kDouble ? logits : logits.to(at::kFloat);
}

Tensor token_nll(const Tensor& logits, const Tensor& targets) {
  constexpr int64_t kIgnored = -100;
  const Tensor flat = targets.reshape(-1);
  return at::cross_entropy_loss(logits.reshape({-1, logits.size(-1)}),
                                flat.masked_fill(flat.lt(0), kIgnored), /*weight=*/{},
                                at::Reduction::None, kIgnored)
      .reshape(targets.sizes());
}

}  // namespace weft
