#include "recipes/available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <sys/resource.h>
#include <unistd.h>

#ifdef WEFT_CUDA
#include <ATen/cuda/CUDAContextLight.h>
#endif

#include "base/check.h"

namespace weft {
namespace {

// The memory limit in a cgroup file; no limit if there is no such file or it says "max".
int64_t limit_in(const std::string& path) {
  int64_t limit = 0;
  std::ifstream file(path);
  return file >> limit && limit > 0 ? limit : std::numeric_limits<int64_t>::max();
}

// The smallest limit of this process's cgroup (version 2) and those around it.
int64_t cgroup_limit() {
  int64_t limit = std::min(limit_in("/sys/fs/cgroup/memory.max"),
                           limit_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) != 0) continue;
    for (std::string at = line.substr(3); at.size() > 1; at.resize(at.rfind('/'))) {
      limit = std::min(limit, limit_in("/sys/fs/cgroup" + at + "/memory.max"));
    }
  }
  return limit;
}

int64_t machine_memory() {
  const int64_t physical =
      static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<int64_t>(sysconf(_SC_PAGE_SIZE));
  return std::min(physical, cgroup_limit());
}

// Of anonymous memory.
int64_t data_limit() {
  rlimit limit{};
  const bool known = getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  constexpr auto kMost = static_cast<rlim_t>(std::numeric_limits<int64_t>::max());
  return static_cast<int64_t>(known ? std::min(limit.rlim_cur, kMost) : kMost);
}

}  // namespace

int64_t available_memory(at::DeviceType device) {
#ifdef WEFT_CUDA
  if (device == at::kCUDA) {
    return static_cast<int64_t>(at::cuda::getDeviceProperties(0)->totalGlobalMem);
  }
#endif
  WEFT_CHECK(device == at::kCPU, "no memory known of ", device);
  return std::min(machine_memory(), data_limit());
}

std::string gib_text(double bytes) {
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  return absl::StrFormat("%.1f GiB", bytes / kGiB);
}

std::string available_words(at::DeviceType device) {
  const std::string memory = gib_text(static_cast<double>(available_memory(device)));
  if (device == at::kCUDA) return absl::StrCat("this GPU has ", memory);
  if (data_limit() < machine_memory()) {
    return absl::StrCat("this process may have ", memory, " (ulimit -d)");
  }
  return absl::StrCat("this machine has ", memory);
}

}  // namespace weft
