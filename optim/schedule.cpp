#include "optim/schedule.h"

#include <cmath>
#include <numbers>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace weft {
namespace {

// peak * (f + (1 - f) * remaining): remaining falls from 1 to 0.
double between(const ScheduleConfig& c, double remaining) {
  return c.peak * (c.final_fraction + (1.0 - c.final_fraction) * remaining);
}

}  // namespace

void validate(const ScheduleConfig& c, int64_t total_steps, Problems& problems) {
  if (c.warmup_steps > total_steps) {
    problems.add("warmup_steps",
                 absl::StrFormat("is %d, but the stage has %d steps", c.warmup_steps, total_steps));
    return;
  }
  const int64_t room = total_steps - c.warmup_steps;
  if (c.kind == ScheduleKind::kWsd && c.decay_steps > room) {
    problems.add("decay_steps",
                 absl::StrFormat("is %d, but steps - warmup_steps leaves %d", c.decay_steps, room));
  }
}

double learning_rate(const ScheduleConfig& c, int64_t step, int64_t total_steps) {
  WEFT_CHECK(0 <= step && step < total_steps, "step ", step, " of ", total_steps);
  const int64_t n = step + 1;
  if (n <= c.warmup_steps) {
    return c.peak * static_cast<double>(n) / static_cast<double>(c.warmup_steps);
  }
  if (c.kind == ScheduleKind::kConstant) return c.peak;
  const bool wsd = c.kind == ScheduleKind::kWsd;
  const int64_t decay_start = wsd ? total_steps - c.decay_steps : c.warmup_steps;
  if (n <= decay_start) return c.peak;
  const double share = static_cast<double>(n - decay_start) /
                       static_cast<double>(total_steps - decay_start);  // (0, 1]
  if (c.kind == ScheduleKind::kCosine) {
    return between(c, 0.5 * (1.0 + std::cos(std::numbers::pi * share)));
  }
  const bool sqrt_decay = wsd && c.decay == DecayShape::kSqrt;
  return between(c, 1.0 - (sqrt_decay ? std::sqrt(share) : share));
}

}  // namespace weft
