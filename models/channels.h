#pragma once
// Rows of the parameter table that Mamba-1 and Mamba-2 mixers share: parameters of channels, kept
// in the master's type because scan and convolution read them so.
#include <string>
#include <vector>

#include "models/config.h"
#include "parallel/parameter_table.h"

namespace weft {

// A row split by its first dimension (channels, heads).
ParameterSpec channel_row(std::string name, std::vector<int64_t> shape, Initializer init,
                          WeightDecay decay = WeightDecay::kNo);

// "<name>.weight" [channels, K] and, if `bias`, "<name>.bias" [channels]: a depthwise convolution.
// Those with one `joint` name are also one of that name, channels after channels.
struct ConvShape {
  int64_t channels, taps;
  bool bias;
  std::string joint = {};
};
void declare_conv(const ModelConfig& model, const std::string& name, ConvShape shape,
                  ParameterTable& table);

}  // namespace weft
