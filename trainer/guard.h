#pragma once
// What happens to a bad update: one whose loss or gradient norm is not finite, or whose norm is far
// over what it has been, is skipped and counted; many in a row end the run.
#include "recipes/recipe.h"
#include "trainer/training_state.h"

namespace weft {

enum class Verdict { kUpdate, kSkip, kStop };

// Judges an update by its loss and gradient norm, and enters it into `state` (grad_norm_mean,
// skipped, skipped_in_a_row). The norm's running mean needs kGuardWarmup accepted updates before it
// is used. kStop: the limit of skipped updates in a row is reached, or the config does not skip.
inline constexpr int64_t kGuardWarmup = 20;
Verdict judge(const GuardConfig& config, double loss, double grad_norm, TrainingState& state);

}  // namespace weft
