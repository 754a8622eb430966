#pragma once
// AdamW (arXiv:1711.05101, with the learning rate in front of the decay) in one pass over memory:
// clipping, both moments, the master and its copy in the compute type; gradients are left zero, for
// the next step to add to.
#include <vector>

#include "base/tensor.h"
#include "models/kernels/cpu/isa.h"

namespace weft {

// Of one parameter, or a bucket of them, dense and of one shape: all fp32 or all fp64 but for
// `copy`, which is bf16, or undefined where there is none.
struct AdamWTensors {
  Tensor master, gradient, m, v, copy;
};

struct AdamWStep {
  int64_t number = 1;  // of the update, counted from 1: bias correction
  double lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
  double gradient_scale = 1;  // what clipping multiplies all gradients by
};

// All masters are of one type and on one device. The same bits for any number of threads. Errors:
// other shapes and types are a programmer's error.
void adamw(const std::vector<AdamWTensors>& parameters, const AdamWStep& step,
           cpu::Isa isa = cpu::best_isa());

}  // namespace weft
