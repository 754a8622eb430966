#include "models/initial.h"

#include <cmath>

namespace weft {
namespace {

using Kind = Initializer::Kind;

Initializer normal(double std) { return {.kind = Kind::kNormal, .a = std}; }
Initializer uniform(double bound) { return {.kind = Kind::kUniform, .a = bound}; }
Initializer by_fan_in(int64_t n) { return uniform(1.0 / std::sqrt(static_cast<double>(n))); }

double depth(const ModelConfig& model) { return static_cast<double>(model.layers.size()); }

}  // namespace

Initializer initial_embedding(const ModelConfig& model) {
  Initializer init = model.init.scheme == InitScheme::kOpenElm
                         ? normal(1.0 / std::sqrt(static_cast<double>(model.hidden_size)))
                         : normal(model.init.std);
  init.zero_row = model.padding_id;
  return init;
}

Initializer initial_linear(const ModelConfig& model, Projection projection, int64_t fan_in) {
  const InitConfig& init = model.init;
  const bool back = projection == Projection::kBack;
  switch (init.scheme) {
    case InitScheme::kOpenElm:
      return normal(back
                        ? 1.0 / std::sqrt(static_cast<double>(model.hidden_size) * 2 * depth(model))
                        : 1.0 / std::sqrt(static_cast<double>(fan_in)));
    case InitScheme::kMamba: {
      Initializer linear = by_fan_in(fan_in);
      if (back) linear.a /= std::sqrt(depth(model));
      return linear;
    }
    case InitScheme::kHfMamba: {
      if (!back) return normal(init.std);
      Initializer linear = by_fan_in(fan_in);
      if (init.depth_scaled) linear.a /= std::sqrt(depth(model));
      return linear;
    }
    case InitScheme::kNormal:
    case InitScheme::kHfJamba:
      break;
  }
  return normal(back && init.depth_scaled ? init.std / std::sqrt(2.0 * depth(model)) : init.std);
}

Initializer initial_conv_weight(const ModelConfig& model, int64_t taps) {
  return model.init.scheme == InitScheme::kHfJamba ? normal(model.init.std) : by_fan_in(taps);
}

Initializer initial_conv_bias(const ModelConfig& model, int64_t taps) {
  return model.init.scheme == InitScheme::kMamba ? by_fan_in(taps) : Initializer{};
}

Initializer initial_dt_weight(const ModelConfig& model, const StepSizeInit& dt, int64_t rank) {
  if (model.init.scheme == InitScheme::kHfJamba) return normal(model.init.std);
  return uniform(dt.scale / std::sqrt(static_cast<double>(rank)));
}

Initializer initial_dt_bias(const ModelConfig& model, const StepSizeInit& dt) {
  if (model.init.scheme == InitScheme::kHfJamba) return {};
  return {.kind = Kind::kInverseSoftplus, .a = dt.min, .b = dt.max, .c = dt.floor};
}

Initializer initial_head_a_log(const ModelConfig& model) {
  if (model.init.scheme == InitScheme::kHfMamba) return {.kind = Kind::kLogArange};
  return {.kind = Kind::kLogUniform, .a = 1.0, .b = 16.0};
}

}  // namespace weft
