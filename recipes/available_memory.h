#pragma once
// Memory that training may use, and how it is spoken of.
#include <cstdint>
#include <string>

#include <c10/core/DeviceType.h>

namespace weft {

// Bytes that this process may use: on the CPU the smallest of physical memory, the cgroup's limit
// and RLIMIT_DATA (`ulimit -d`), on CUDA (which must be there) the memory of the first GPU.
int64_t available_memory(at::DeviceType device);

// "1.5 GiB"; "this machine has 23.5 GiB" of that memory, or "this GPU has ..", or "this process may
// have .. (ulimit -d)".
std::string gib_text(double bytes);
std::string available_words(at::DeviceType device);

}  // namespace weft
