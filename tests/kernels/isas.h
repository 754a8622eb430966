#pragma once
// The versions of the CPU kernels that can be tested on this machine.
#include <vector>

#include "models/kernels/cpu/isa.h"

namespace weft {

inline std::vector<cpu::Isa> supported_isas() {
  std::vector<cpu::Isa> isas;
  for (const cpu::Isa isa : cpu::kAllIsas) {
    if (cpu::is_supported(isa)) isas.push_back(isa);
  }
  return isas;
}

}  // namespace weft
