#pragma once
// Learning-rate schedules as pure functions of the update's number. With n = step + 1, N =
// total_steps, f = final_fraction, and r = the share of the decay phase done, in (0, 1]:
//   warmup    n <= warmup_steps           lr = peak * n / warmup_steps
//   constant  after warmup                lr = peak
//   linear    after warmup to N           lr = peak * (1 - (1 - f) r)
//   cosine    after warmup to N           lr = peak * (f + (1 - f) (1 + cos(pi r)) / 2)
//   wsd       up to N - decay_steps       lr = peak,  then
//             decay: sqrt                 lr = peak * (f + (1 - f) (1 - sqrt(r)))
//             decay: linear               lr = peak * (1 - (1 - f) r)
// The last update runs at exactly peak * f (but for constant). Sources: arXiv:2404.06395 (wsd),
// arXiv:2405.18392 (1 - sqrt decay), arXiv:1608.03983 (cosine).
#include <cstdint>

#include "base/schema.h"

namespace weft {

enum class ScheduleKind { kConstant, kLinear, kCosine, kWsd };
constexpr auto enum_names(ScheduleKind) {
  return std::array{EnumName{ScheduleKind::kConstant, "constant"},
                    EnumName{ScheduleKind::kLinear, "linear"},
                    EnumName{ScheduleKind::kCosine, "cosine"}, EnumName{ScheduleKind::kWsd, "wsd"}};
}
enum class DecayShape { kSqrt, kLinear };
constexpr auto enum_names(DecayShape) {
  return std::array{EnumName{DecayShape::kSqrt, "sqrt"}, EnumName{DecayShape::kLinear, "linear"}};
}

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kWsd;
  double peak = 3e-4;
  int64_t warmup_steps = 0;
  int64_t decay_steps = 0;
  DecayShape decay = DecayShape::kSqrt;
  double final_fraction = 0.0;
  static void describe(auto& self, auto& schema) {
    schema.field("kind", self.kind, any(), "shape of the learning rate over the stage");
    schema.field("peak", self.peak, within(1e-12, 100), "largest learning rate");
    schema.field("warmup_steps", self.warmup_steps, at_least(0), "updates of linear warmup");
    schema.when(self.kind == ScheduleKind::kWsd, "kind: wsd", [&] {
      schema.field("decay_steps", self.decay_steps, at_least(0), "updates of the final decay");
      schema.field("decay", self.decay, any(), "shape of the final decay: 1 - sqrt, or linear");
    });
    schema.when(self.kind != ScheduleKind::kConstant, "kind: linear, cosine or wsd", [&] {
      schema.field("final_fraction", self.final_fraction, within(0, 1),
                   "last learning rate / peak");
    });
  }
};

// Checks that need more than one field; adds every problem, under the key to change.
void validate(const ScheduleConfig& config, int64_t total_steps, Problems& problems);

// Learning rate of update `step` (0-based) of a stage. Pure: the same on every rank and after a
// resume. REQUIRES: a config without problems and 0 <= step < total_steps.
double learning_rate(const ScheduleConfig& config, int64_t step, int64_t total_steps);

}  // namespace weft
