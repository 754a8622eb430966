#include "cli/openmp.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <system_error>

namespace weft {

void limit_openmp_spinning(char** argv) {
  constexpr char kSpins[] = "10000";  // some tens of microseconds
  for (const char* name : {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}) {
    if (std::getenv(name) != nullptr) return;
  }
  // By its own path and not /proc/self/exe, after which the process would be called "exe".
  std::error_code error;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (!error && setenv("GOMP_SPINCOUNT", kSpins, /*overwrite=*/1) == 0) {
    execv(program.c_str(), argv);
  }
}

}  // namespace weft
