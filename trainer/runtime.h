#pragma once
// What a recipe's `auto`s mean on this machine: device, number types, threads.
#include <string>

#include "parallel/parameter_store.h"
#include "recipes/recipe.h"

namespace weft {

struct Runtime {
  StoreTypes types;  // masters, compute and device
  int threads = 1;   // CPU threads of this process
};

// device auto: cuda if LibTorch sees a GPU. compute auto: bf16 where the device has units for it,
// else fp32. Masters are fp64 with compute fp64, else fp32.
Runtime resolve_runtime(const Recipe& recipe);

// Makes LibTorch's settings for this process: threads, and on a GPU algorithms whose results do not
// change from run to run, where it has them (not for attention in fp32, which warns once).
void apply(const Runtime& runtime);

// "bf16", "fp32" or "fp64".
std::string compute_name(const Runtime& runtime);

// "cpu, bf16 over fp32 masters, 2 threads".
std::string describe(const Runtime& runtime);

}  // namespace weft
