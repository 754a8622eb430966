#include "trainer/runtime.h"

#include "absl/strings/str_cat.h"
#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include "base/cpu_features.h"
#include "trainer/machine.h"

namespace weft {
namespace {

at::ScalarType compute_type(ComputeKind kind, bool cuda) {
  switch (kind) {
    case ComputeKind::kBf16:
      return at::kBFloat16;
    case ComputeKind::kFp32:
      return at::kFloat;
    case ComputeKind::kFp64:
      return at::kDouble;
    case ComputeKind::kAuto:
      break;
  }
  return cuda || has_bf16_units() ? at::kBFloat16 : at::kFloat;
}

const char* type_name(at::ScalarType type) {
  if (type == at::kBFloat16) return "bf16";
  return type == at::kDouble ? "fp64" : "fp32";
}

}  // namespace

Runtime resolve_runtime(const Recipe& recipe) {
  const bool cuda =
      recipe.device == DeviceKind::kCuda || (recipe.device == DeviceKind::kAuto && at::hasCUDA());
  const at::ScalarType compute = compute_type(recipe.precision.compute, cuda);
  return {.types = {.master = compute == at::kDouble ? at::kDouble : at::kFloat,
                    .compute = compute,
                    .device = cuda ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU)},
          .threads = static_cast<int>(recipe.threads.value_or(default_threads()))};
}

void apply(const Runtime& runtime) {
  at::set_num_threads(runtime.threads);
  if (!runtime.types.device.is_cuda()) return;
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  at::globalContext().setDeterministicFillUninitializedMemory(false);  // it would cost a pass
}

std::string compute_name(const Runtime& runtime) { return type_name(runtime.types.compute); }

std::string describe(const Runtime& runtime) {
  return absl::StrCat(runtime.types.device.is_cuda() ? "cuda, " : "cpu, ",
                      type_name(runtime.types.compute), " over ", type_name(runtime.types.master),
                      " masters, ", runtime.threads, runtime.threads == 1 ? " thread" : " threads");
}

}  // namespace weft
