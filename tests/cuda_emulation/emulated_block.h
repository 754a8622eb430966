#pragma once
// Runs the threads of CUDA thread blocks on the CPU, one after the other, each on a stack of its
// own, which it leaves at barriers and shuffles only. So a kernel's arithmetic, its bounds (with
// sanitizers) and its barriers are tested without a GPU; its speed, its use of registers and what
// nvcc makes of it are not.
//
// Threads and blocks run in ascending or in descending order. A kernel that misses a barrier gives
// other results in one of them: what a thread reads before another one, which comes first in one of
// the two orders, has written it. Before a block its shared memory is all ones in binary, which is
// NaN in every floating type.
#include <cstddef>
#include <cstdint>
#include <functional>

namespace weft::emulation {

enum class Order { kAscending, kDescending };

// Of launches from here on. Not for use while one runs.
void set_order(Order order);

struct Index {
  unsigned x, y, z;
};

inline constexpr unsigned kWarp = 32;

// Calls `thread` for each thread of each block, with threadIdx and blockIdx set. Launches run one
// at a time. Ends the program where a thread waits for one that cannot come: lanes of a warp that
// do not take part in a shuffle, or, at a barrier, others that wait in a shuffle.
void run_grid(Index grid, Index block, size_t shared_bytes, const std::function<void()>& thread);

// Of the running thread: waits at the block's barrier.
void wait_for_block();

// Of the running thread: waits until all lanes of its warp have come here; the `bits` of the lane
// whose number differs from its own in the bits of `mask`.
uint64_t exchange(uint64_t bits, unsigned mask);

// The running block's dynamic shared memory.
void* dynamic_shared();

}  // namespace weft::emulation
