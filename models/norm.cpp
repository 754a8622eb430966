#include "models/norm.h"

namespace weft {

ParameterSpec norm_weight(std::string name, int64_t width) {
  return {.name = std::move(name),
          .shape = {width},
          .sharding = {},
          .init = {.kind = Initializer::Kind::kConstant, .a = 1.0},
          .decay = WeightDecay::kNo,
          .compute = ComputeType::kMaster};
}

}  // namespace weft
