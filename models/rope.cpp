#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>

#include "base/check.h"
#include "models/kernels/rotate.h"

namespace weft {
namespace {

// 1 / theta^(2j/e), in the order of operations of the reference: at position 262143 an error of
// 1e-7 in a frequency is 0.03 rad already.
Tensor plain_frequencies(double theta, int64_t head_dim, at::ScalarType type) {
  const Tensor exponent = at::arange(0, head_dim, 2, type) / static_cast<double>(head_dim);
  return at::pow(theta, exponent).reciprocal();
}

double ntk_theta(const RopeConfig& c, int64_t head_dim, double stretch) {
  const double e = static_cast<double>(head_dim);
  return c.theta * std::pow(stretch, e / (e - 2));
}

double dynamic_stretch(const RopeConfig& c, int64_t length) {
  const double original = static_cast<double>(c.original_max_position);
  const double reach = std::max(static_cast<double>(length), original);
  return c.factor * reach / original - (c.factor - 1);
}

// Low frequencies divided by the factor, high ones as they are, those between blended.
Tensor llama3_frequencies(const RopeConfig& c, const Tensor& plain) {
  const Tensor wavelength = 2 * std::numbers::pi / plain;
  const Tensor turns = static_cast<double>(c.original_max_position) / wavelength;
  const Tensor keep =
      ((turns - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor)).clamp(0, 1);
  return plain * (keep + (1 - keep) / c.factor);
}

// The channel whose wavelength turns `rotations` times within the original context.
double yarn_channel(const RopeConfig& c, int64_t head_dim, double rotations) {
  const double original = static_cast<double>(c.original_max_position);
  return static_cast<double>(head_dim) * std::log(original / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(c.theta));
}

Tensor yarn_frequencies(const RopeConfig& c, int64_t head_dim, const Tensor& plain) {
  double low = yarn_channel(c, head_dim, c.beta_fast),
         high = yarn_channel(c, head_dim, c.beta_slow);
  if (c.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim - 1));
  if (low == high) high += 0.001;
  const Tensor channel = at::arange(head_dim / 2, plain.options());
  const Tensor keep = 1 - ((channel - low) / (high - low)).clamp(0, 1);
  return plain * (keep + (1 - keep) / c.factor);
}

}  // namespace

Tensor rope_frequencies(const RopeConfig& c, int64_t head_dim, int64_t length,
                        at::ScalarType type) {
  const auto plain = [&](double theta) { return plain_frequencies(theta, head_dim, type); };
  switch (c.type) {
    case RopeType::kNone:
      break;
    case RopeType::kDefault:
      return plain(c.theta);
    case RopeType::kLinear:
      return plain(c.theta) / c.factor;
    case RopeType::kNtk:
      return plain(ntk_theta(c, head_dim, c.factor));
    case RopeType::kDynamic:
      return plain(ntk_theta(c, head_dim, dynamic_stretch(c, length)));
    case RopeType::kLlama3:
      return llama3_frequencies(c, plain(c.theta));
    case RopeType::kYarn:
      return yarn_frequencies(c, head_dim, plain(c.theta));
  }
  WEFT_CHECK(false, "no rotary positions to compute");
}

const Tensor& RopeFrequencies::get(const RopeConfig& config, int64_t head_dim,
                                   at::ScalarType type) {
  WEFT_CHECK(config.type != RopeType::kDynamic, "these frequencies depend on the length");
  for (const Made& made : made_) {
    if (made.head_dim == head_dim && made.type == type && made.config == config) {
      return made.frequencies;
    }
  }
  made_.push_back({config, head_dim, type, rope_frequencies(config, head_dim, 0, type)});
  return made_.back().frequencies;
}

Tensor Rotation::operator()(const Tensor& x) const { return rotate(x, cos, sin); }

Tensor Rotations::angles(const RopeConfig& config, int64_t head_dim, at::ScalarType type) const {
  const Tensor position = positions_.to(type).unsqueeze(-1);  // [Bz, T, 1]
  if (config.type != RopeType::kDynamic) {
    const Tensor frequencies = frequencies_ != nullptr
                                   ? frequencies_->get(config, head_dim, type)
                                   : rope_frequencies(config, head_dim, 0, type);
    return position * frequencies.to(positions_.device());
  }
  if (!lengths_.defined()) {
    const int64_t length = positions_.numel() == 0 ? 0 : positions_.max().item<int64_t>() + 1;
    return position * rope_frequencies(config, head_dim, length, type).to(positions_.device());
  }
  const Tensor lengths = lengths_.cpu().reshape(-1).contiguous();
  std::vector<Tensor> frequencies;
  for (int64_t i = 0; i < lengths.numel(); ++i) {
    const int64_t length = lengths.const_data_ptr<int64_t>()[i];
    const bool same = i > 0 && length == lengths.const_data_ptr<int64_t>()[i - 1];
    frequencies.push_back(same ? frequencies.back()
                               : rope_frequencies(config, head_dim, length, type));
  }
  if (frequencies.empty()) return position.expand({-1, -1, head_dim / 2});
  return position * at::stack(frequencies)
                        .reshape({positions_.size(0), positions_.size(1), head_dim / 2})
                        .to(positions_.device());
}

const Rotation& Rotations::get(const RopeConfig& config, int64_t head_dim, at::ScalarType type) {
  for (const Made& made : made_) {
    if (made.head_dim == head_dim && made.type == type && made.config == config) {
      return made.rotation;
    }
  }
  const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor angle = angles(config, head_dim, wide).unsqueeze(2);  // [Bz, T, 1, e/2]
  Tensor cos = angle.cos(), sin = angle.sin();
  if (config.attention_factor != 1) {
    cos = cos * config.attention_factor;
    sin = sin * config.attention_factor;
  }
  made_.push_back({config,
                   head_dim,
                   type,
                   {at::cat({cos, cos}, -1).to(type), at::cat({-sin, sin}, -1).to(type)}});
  return made_.back().rotation;
}

void Rotations::copy_from(Rotations& many, int64_t t) {
  const auto copy = [t](const Tensor& from, const Tensor& to) {  // [Bz, T, 1, e], [Bz, 1, 1, e]
    const int64_t length = from.size(1), bytes = to.nbytes() / std::max<int64_t>(1, to.size(0));
    WEFT_CHECK(from.size(0) == to.size(0) && to.size(1) == 1 && 0 <= t && t < length, "position ",
               t, " of rotations ", from.sizes(), " for ", to.sizes());
    const auto* source = static_cast<const char*>(from.const_data_ptr()) + t * bytes;
    auto* target = static_cast<char*>(to.mutable_data_ptr());
    for (int64_t row = 0; row < to.size(0); ++row) {
      std::memcpy(target + row * bytes, source + row * length * bytes, bytes);
    }
  };
  for (const Made& made : made_) {
    const Rotation& there = many.get(made.config, made.head_dim, made.type);
    copy(there.cos, made.rotation.cos);
    copy(there.sin, made.rotation.sin);
  }
}

}  // namespace weft
