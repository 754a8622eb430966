#include "cli/openmp.h"

#include <unistd.h>

#include <cstdlib>
#include <initializer_list>

namespace weft {

void limit_openmp_spinning(char** argv) {
  constexpr char kSpins[] = "10000";  // some tens of microseconds
  for (const char* name : {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}) {
    if (std::getenv(name) != nullptr) return;
  }
  if (setenv("GOMP_SPINCOUNT", kSpins, /*overwrite=*/1) == 0) execv("/proc/self/exe", argv);
}

}  // namespace weft
