#pragma once
// Running a fixed list of tasks on LibTorch's threads, and adding up what they leave behind.
#include <cstddef>
#include <functional>
#include <memory>

#include "models/kernels/raw.h"

namespace weft::cpu {

struct AlignedDelete {
  void operator()(std::byte* memory) const;
};
using AlignedBytes = std::unique_ptr<std::byte, AlignedDelete>;
// Memory with unknown contents, aligned to 64 bytes.
AlignedBytes aligned_bytes(int64_t size);
// Bytes rounded up to that alignment.
inline int64_t to_lines(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// f(task, workspace) for tasks 0 .. count - 1, on any thread and in any order. A workspace has
// `workspace_bytes`, aligned to 64, with unknown contents. A thread gets `at_least` tasks: small
// ones don't pay for waking another.
void run_tasks(int64_t count, int64_t workspace_bytes, const std::function<void(int64_t, void*)>& f,
               int64_t at_least = 1);

// The same for tasks of unequal lengths, the longest of which should come first: a thread that is
// done takes the next. at_end() is called on every thread that took part.
void run_uneven_tasks(int64_t count, int64_t workspace_bytes,
                      const std::function<void(int64_t, void*)>& f,
                      const std::function<void()>& at_end);

// out[i] = sum over p < count of partials[p * size + i], in the order of p.
template <class S>
void sum_partials(const Compute<S>* partials, int64_t count, int64_t size, S* out);

}  // namespace weft::cpu
