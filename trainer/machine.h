#pragma once
// What this machine is and can do: cores, memory in use, the speed of matrix products.
#include <cstdint>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/tensor.h"

namespace weft {

// FLOP/s of the fastest of several square matrix products of `type` on `device`, with the threads
// that are set; a multiply-add counts 2. Takes about a third of a second.
double measure_matmul_peak(at::ScalarType type, at::Device device);

// Bytes per second (read and written) of copying 256 MB past the caches, the best of three, with
// the threads that are set.
double measure_copy_bandwidth();

// Bytes of memory in use: of this process (resident) on the CPU, of tensors on a GPU.
int64_t memory_in_use(at::Device device);

// The processor's name as the system gives it, or "unknown CPU".
std::string cpu_name();

// Threads that help: physical cores this process may run on, and no more than its CPU quota.
int default_threads();

// The same from what the system says: `cpus` the process may run on, `system_root` the folder with
// sys/ (topology), `groups` the content of /proc/self/cgroup. At least 1.
int usable_cores(const std::vector<int>& cpus, const fs::path& system_root,
                 const std::string& groups);

}  // namespace weft
