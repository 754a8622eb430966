#pragma once
// How weights start, by their place in the model and the model's scheme: the table of
// spec/models.md 14 as functions.
#include "models/config.h"
#include "parallel/parameter_table.h"

namespace weft {

// kInto: from the residual stream (q, k, v, gate, up, ...), split by output rows. kBack: back into
// it (o, down, out), split by input columns. kReduce: from split channels to a few values that
// every rank needs (Mamba's dt, B, C), split by input columns.
enum class Projection { kInto, kBack, kReduce };

Initializer initial_embedding(const ModelConfig& model);
// Weight of a linear layer with `fan_in` inputs.
Initializer initial_linear(const ModelConfig& model, Projection projection, int64_t fan_in);
// Weight and bias of a depthwise convolution with `taps` taps.
Initializer initial_conv_weight(const ModelConfig& model, int64_t taps);
Initializer initial_conv_bias(const ModelConfig& model, int64_t taps);
// Mamba-1: the step size's projection from `rank` values, and its bias.
Initializer initial_dt_weight(const ModelConfig& model, const StepSizeInit& dt, int64_t rank);
Initializer initial_dt_bias(const ModelConfig& model, const StepSizeInit& dt);
// Mamba-2's A_log, a value a head.
Initializer initial_head_a_log(const ModelConfig& model);

}  // namespace weft
