#pragma once
// The global gradient norm and clipping by it (arXiv:1211.5063).
#include "parallel/parameter_store.h"

namespace weft {

// Euclidean norm of all gradients, each row summed in fp64 in the order of the table.
double gradient_norm(const ParameterStore& store);

// Scales every gradient by max_norm / norm if norm > max_norm > 0.
void clip_gradients(ParameterStore& store, double norm, double max_norm);

}  // namespace weft
