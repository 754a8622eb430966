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

// f(task, workspace) for tasks 0 .. count - 1, on any thread and in any order. A workspace has
// `workspace_bytes`, aligned to 64, with unknown contents. A thread gets `at_least` tasks: small
// ones don't pay for waking another.
void run_tasks(int64_t count, int64_t workspace_bytes, const std::function<void(int64_t, void*)>& f,
               int64_t at_least = 1);

// f(begin, end) for parts of the tasks 0 .. count - 1 (fewer than 2^32), of which each reads the
// memory behind the one before it. Where there are many, every thread takes its share from the
// front, half of what is left of it at a time, and then helps the others from their ends: threads
// rarely start together, nor read equally fast. Few are split evenly, `at_least` to a thread.
void run_shared_tasks(int64_t count, const std::function<void(int64_t, int64_t)>& f,
                      int64_t at_least);

// out[i] = sum over p < count of partials[p * size + i], in the order of p.
template <class S>
void sum_partials(const Compute<S>* partials, int64_t count, int64_t size, S* out);

}  // namespace weft::cpu
