#include "trainer/guard.h"

#include <cmath>

namespace weft {

Verdict judge(const GuardConfig& config, double loss, double grad_norm, TrainingState& state) {
  constexpr double kMemory = 0.98;  // of the running mean: about the last 50 updates
  const bool finite = std::isfinite(loss) && std::isfinite(grad_norm);
  const bool spike = config.spike_factor > 0 && state.guard_updates >= kGuardWarmup &&
                     grad_norm > config.spike_factor * state.grad_norm_mean;
  if (finite && !spike) {
    state.grad_norm_mean = state.guard_updates == 0
                               ? grad_norm
                               : kMemory * state.grad_norm_mean + (1 - kMemory) * grad_norm;
    ++state.guard_updates;
    state.skipped_in_a_row = 0;
    return Verdict::kUpdate;
  }
  ++state.skipped;
  ++state.skipped_in_a_row;
  if (!finite && !config.skip_nonfinite) return Verdict::kStop;
  return state.skipped_in_a_row >= config.stop_after ? Verdict::kStop : Verdict::kSkip;
}

}  // namespace weft
