#pragma once
// Dropless top-k mixture of SwiGLU experts with the Switch load-balancing loss and the router
// z-loss (spec/models.md 8, spec/parallel.md 9; arXiv:2101.03961, arXiv:2202.08906,
// arXiv:2401.04088).
#include <string>
#include <vector>

#include "base/tensor.h"
#include "models/config.h"
#include "models/kernels/cpu/scratch.h"
#include "models/kernels/cpu/stages.h"
#include "models/kernels/expert_rows.h"
#include "models/kernels/rms_norm_weights.h"
#include "models/linear.h"
#include "models/mini_sequences.h"
#include "parallel/parameter_store.h"

namespace weft {

// What the routers of a forward pass report, an entry a layer in order.
struct RouterStats {
  std::vector<Tensor> aux_sums;  // [] weighted auxiliary losses, summed over the rows (sequences)
  std::vector<Tensor> expert_counts;  // [E] int64 on the CPU: assignments
  // [E] sums of the router's probabilities over tokens, where the balance loss pools layers (kHf).
  std::vector<Tensor> probability_sums;
  int64_t tokens = 0;  // of a layer
};

// Every expert's rows are padded with zeros to a multiple of this. The libraries below compile (and
// keep) a matrix product for each shape that they meet; without it a run meets thousands.
inline constexpr int64_t kExpertRowMultiple = 64;

// Which experts each token uses, in ascending order of expert.
struct Routing {
  Tensor probabilities;  // [n, E] softmax of the logits, fp32 (fp64)
  Tensor experts;        // [n, k] int64
  Tensor weights;        // [n, k] combine weights, differentiable
};

class Moe final {
 public:
  // The rows "<prefix>.router.weight" [E, d] and "<prefix>.experts.{gate,up,down}.weight" [E, out,
  // in].
  static void declare(const ModelConfig& model, const MoeConfig& config, const std::string& prefix,
                      ParameterTable& table);
  Moe(const MoeConfig& config, const MiniSequences& mini_sequences, const ParameterStore& store,
      const std::string& prefix);

  // x [Bz, T, d] -> [Bz, T, d]: routed all at once, the experts' rows by mini-sequences. `stats`
  // may be null; otherwise an entry is added for this layer.
  Tensor forward(const Tensor& x, RouterStats* stats) const;

  // x [.., d] += forward(norm(x), nullptr), as work for one x after the other in the same memory: a
  // few tokens on the CPU, without gradients. Only the experts that are used are touched, and no
  // row is padded. x: dense, in the compute type or the wider one.
  cpu::StagedWorkPtr decoding_work(const RmsNormWeights& norm, const Tensor& x,
                                   cpu::Scratch& scratch) const;

 private:
  void report(const Tensor& logits, const Routing& routing, const Tensor& counts, int64_t rows,
              RouterStats& stats) const;
  Tensor grouped_experts(const Tensor& tokens, const Routing& routing,
                         const ExpertRows& plan) const;

  MoeConfig config_;
  MiniSequences mini_sequences_;
  Tensor router_;           // [E, d]
  ExpertLinear gate_, up_;  // [E, f, d]
  ExpertLinear down_;       // [E, d, f]
};

// logits [n, E]; ties go to the lower expert.
Routing route(const Tensor& logits, int64_t top_k, bool renormalize);

// coef * E * sum_i f_i P_i of each row (sequence), summed over rows: f = share of the row's
// assignments, P = mean probability in the row. probabilities [rows * T, E], experts [rows * T, k].
Tensor balance_loss_sum(const Routing& routing, int64_t rows, double coef);

// E * sum_i f_i P_i over all layers and tokens together: f = assignments per token, P = mean
// probability (transformers' load_balancing_loss_func; balanced: top_k). REQUIRES: layers with
// probability_sums, all of one size.
Tensor pooled_balance_loss(const RouterStats& stats);

// coef * mean over the row's tokens of logsumexp(logits)^2, summed over rows.
Tensor router_z_loss_sum(const Tensor& logits, int64_t rows, double coef);

}  // namespace weft
