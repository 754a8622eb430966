#include "trainer/evaluate.h"

#include <cmath>
#include <limits>
#include <numbers>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

namespace weft {

double Evaluation::perplexity() const { return std::exp(loss()); }

double Evaluation::bits_per_byte() const {
  return text_bytes > 0 ? nll_sum / std::numbers::ln2 / static_cast<double>(text_bytes) : 0;
}

Evaluation evaluate(const CausalLM& model, const TokenShards& shards,
                    const EvaluationOptions& options) {
  const at::NoGradGuard no_grad;
  const EvaluationOrder order(shards, options.sequence_length, options.context,
                              options.max_tokens.value_or(std::numeric_limits<int64_t>::max()));
  Evaluation result;
  for (int64_t first = 0; first < order.num_rows(); first += options.rows) {
    const int64_t count = std::min(options.rows, order.num_rows() - first);
    const Batch batch = order.rows(first, count);
    const LossTerms terms =
        model.loss(batch.tokens.to(options.device), batch.targets.to(options.device),
                   Documents::from_ids(batch.documents, options.device));
    result.nll_sum += terms.nll_sum.item<double>();
    result.targets += batch.num_targets;
    result.text_bytes += order.text_bytes(batch);
    if (options.progress && !options.progress(first + count, order.num_rows())) break;
  }
  return result;
}

}  // namespace weft
