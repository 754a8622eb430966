#include "trainer/machine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linspace.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <sched.h>
#include <unistd.h>

#include "models/kernels/matmul.h"
#include "trainer/memory_copy.h"

namespace weft {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Seconds of `count` products c = a b, up to the moment when the last one's result is there.
double time_products(const Tensor& a, const Tensor& b, Tensor& c, int count) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) multiply_into(c, a, b);
  c.select(0, 0).select(0, 0).item();  // waits for a GPU
  return seconds_since(start);
}

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// CPUs' worth of time that the group in `folder` may use: cpu.max ("150000 100000", "max 100000"),
// or the two files of the first version of control groups, where a quota of -1 means none.
std::optional<double> group_quota(const fs::path& folder) {
  std::string text = first_line(folder / "cpu.max");
  if (text.empty()) {
    text = absl::StrCat(first_line(folder / "cpu.cfs_quota_us"), " ",
                        first_line(folder / "cpu.cfs_period_us"));
  }
  std::istringstream words(text);
  double quota = 0, period = 0;
  if (!(words >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
  return quota / period;
}

// The folder of the process's group, in a line "0::/a/b" or "3:cpu,cpuacct:/a/b" of
// /proc/self/cgroup, relative to where groups are mounted; nothing for other controllers.
std::optional<fs::path> group_folder(const std::string& line) {
  const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
  if (parts.size() != 3) return std::nullopt;
  const fs::path group = fs::path(parts[2]).relative_path();
  if (parts[0] == "0") return group;
  for (const std::string& controller : std::vector<std::string>(absl::StrSplit(parts[1], ','))) {
    if (controller == "cpu") return fs::path("cpu") / group;
  }
  return std::nullopt;
}

// The tightest quota of the process's groups and of the groups around them. In a container the
// names in `groups` may be those of the host, and the mount then shows the container's own group.
double cpu_quota(const fs::path& mount, const std::string& groups) {
  double quota = std::numeric_limits<double>::infinity();
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(groups, '\n'))) {
    const std::optional<fs::path> folder = group_folder(line);
    if (!folder.has_value()) continue;
    fs::path path = mount;
    quota = std::min(quota, group_quota(path).value_or(quota));
    for (const fs::path& part : *folder) {
      path /= part;
      quota = std::min(quota, group_quota(path).value_or(quota));
    }
  }
  return quota;
}

}  // namespace

double measure_matmul_peak(at::ScalarType type, at::Device device) {
  const at::NoGradGuard no_grad;
  const auto options = at::TensorOptions(type).device(device);
  const std::vector<int64_t> sizes =
      device.is_cuda() ? std::vector<int64_t>{4096, 8192} : std::vector<int64_t>{1024, 2048};
  const int count = device.is_cuda() ? 8 : 1;
  double peak = 0;
  for (const int64_t n : sizes) {
    const double flops = 2.0 * count * std::pow(static_cast<double>(n), 3);
    if (flops > 0.2 * peak && peak > 0) break;  // it would take too long here
    const Tensor a = at::linspace(-1, 1, n * n, options.dtype(at::kFloat)).view({n, n}).to(type);
    const Tensor b = a.flip({0}).contiguous();
    Tensor c = at::empty({n, n}, options);
    time_products(a, b, c, 1);
    const auto start = std::chrono::steady_clock::now();
    do {
      peak = std::max(peak, flops / time_products(a, b, c, count));
    } while (seconds_since(start) < 0.12);
  }
  return peak;
}

double measure_copy_bandwidth() {
  MemoryCopy memory(256 << 20);
  double best = 0;
  for (int i = 0; i < 3; ++i) best = std::max(best, memory.copy_bandwidth());
  return best;
}

int64_t memory_in_use(at::Device device) {
  if (!device.is_cpu()) {
    const auto stats =
        at::getDeviceAllocator(device.type())->getDeviceStats(std::max<int>(0, device.index()));
    constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return stats.allocated_bytes[kAll].peak;
  }
  std::istringstream pages(first_line("/proc/self/statm"));
  int64_t all = 0, resident = 0;
  pages >> all >> resident;
  return resident * static_cast<int64_t>(sysconf(_SC_PAGESIZE));
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown CPU";
}

int usable_cores(const std::vector<int>& cpus, const fs::path& system_root,
                 const std::string& groups) {
  std::set<std::string> cores;
  for (const int cpu : cpus) {
    const fs::path topology =
        system_root / absl::StrCat("sys/devices/system/cpu/cpu", cpu, "/topology");
    const std::string core = first_line(topology / "core_id");
    const std::string package = first_line(topology / "physical_package_id");
    // Without a topology each CPU counts as a core.
    cores.insert(core.empty() ? absl::StrCat("cpu", cpu) : absl::StrCat(package, ":", core));
  }
  const double quota = cpu_quota(system_root / "sys/fs/cgroup", groups);
  const double limited = std::min(std::ceil(quota), static_cast<double>(cores.size()));
  return std::max(1, static_cast<int>(limited));
}

int default_threads() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    }
  } else {
    // More CPUs than the set has room for.
    for (unsigned cpu = 0; cpu < std::thread::hardware_concurrency(); ++cpu) {
      cpus.push_back(static_cast<int>(cpu));
    }
  }
  std::ifstream file("/proc/self/cgroup");
  std::ostringstream groups;
  groups << file.rdbuf();
  return usable_cores(cpus, "/", groups.str());
}

}  // namespace weft
