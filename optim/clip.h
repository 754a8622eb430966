#pragma once
// The global gradient norm and clipping by it (arXiv:1211.5063).
#include "parallel/parameter_store.h"

namespace weft {

// Euclidean norm of all gradients, in fp64 and in an order that does not depend on the number of
// threads.
double gradient_norm(const ParameterStore& store);

// What every gradient is multiplied by: max_norm / norm if norm > max_norm > 0 and finite, else 1.
double clip_factor(double norm, double max_norm);

}  // namespace weft
