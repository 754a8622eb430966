#include "models/channels.h"

#include "models/initial.h"

namespace weft {

ParameterSpec channel_row(std::string name, std::vector<int64_t> shape, Initializer init,
                          WeightDecay decay) {
  return {.name = std::move(name),
          .shape = std::move(shape),
          .sharding = {0, MeshAxis::kTensor},
          .init = init,
          .decay = decay,
          .compute = ComputeType::kMaster};
}

void declare_conv(const ModelConfig& model, const std::string& name, ConvShape shape,
                  ParameterTable& table) {
  const auto add = [&](const char* row, ParameterSpec spec) {
    if (!shape.joint.empty()) spec.joint = shape.joint + row;
    table.add(std::move(spec));
  };
  add(".weight", channel_row(name + ".weight", {shape.channels, shape.taps},
                             initial_conv_weight(model, shape.taps), WeightDecay::kYes));
  if (!shape.bias) return;
  add(".bias", channel_row(name + ".bias", {shape.channels}, initial_conv_bias(model, shape.taps)));
}

}  // namespace weft
