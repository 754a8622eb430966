#include "tests/cuda_emulation/emulated_block.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include <link.h>

#include "base/check.h"
#include "tests/cuda_emulation/cuda_runtime.h"

// Leaves the stack pointer in *from and goes on where `to` was left: the System V ABI's preserved
// registers are on each stack. swapcontext does the same with a system call, 50 times as slow.
extern "C" void weft_switch_stack(void** from, void* to);
asm(R"(
.text
.type weft_switch_stack, @function
weft_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size weft_switch_stack, . - weft_switch_stack
)");

namespace weft::emulation {
namespace {

// Not a power of two: the ends of all stacks would be in the same few lines of the caches.
constexpr size_t kStackBytes = (64 << 10) + 320;
constexpr int kFill = 0xFF;

enum class State { kReady, kInShuffle, kAtBarrier, kDone };

struct Thread {
  void* stack_pointer;
  Index index;
  State state;
  uint64_t bits;  // what it gives to a shuffle, then what it gets
  unsigned mask;
};

struct Block {
  const std::function<void()>* body;
  std::vector<Thread> threads;
  std::byte* stacks;  // [threads, kStackBytes]
  std::unique_ptr<std::byte[]> shared;
  void* scheduler;  // its stack pointer while a thread runs
  Thread* running;
};

// What kernels reach without an argument is global in CUDA, and so it is here.
Order order = Order::kAscending;
Block* block = nullptr;

// f(i) for i < count in the order of set_order.
template <class F>
void in_order(size_t count, const F& f) {
  for (size_t i = 0; i < count; ++i) f(order == Order::kAscending ? i : count - 1 - i);
}

void leave(State state) {
  Thread& self = *block->running;
  self.state = state;
  weft_switch_stack(&self.stack_pointer, block->scheduler);
}

// Where a thread's stack begins; there is nothing to return to.
void begin_thread() {
  (*block->body)();
  leave(State::kDone);
}

void resume(Thread& thread) {
  block->running = &thread;
  threadIdx = {thread.index.x, thread.index.y, thread.index.z};
  weft_switch_stack(&block->scheduler, thread.stack_pointer);
}

// So that the first switch to the thread calls begin_thread, with the stack aligned as the ABI
// wants it behind a call.
void prepare(Thread& thread, std::byte* stack) {
  thread.state = State::kReady;
  const auto top = (reinterpret_cast<uintptr_t>(stack) + kStackBytes) / 16 * 16;
  auto** words = reinterpret_cast<void**>(top) - 8;  // six registers, the address, one for nothing
  std::fill(words, words + 8, nullptr);
  words[6] = reinterpret_cast<void*>(&begin_thread);
  thread.stack_pointer = words;
}

// Memory for the stacks of so many threads, kept from launch to launch.
std::byte* stacks_for(size_t threads) {
  static std::vector<std::byte> stacks;
  if (stacks.size() < threads * kStackBytes) stacks.resize(threads * kStackBytes);
  return stacks.data();
}

void finish_shuffle(Thread* lanes, size_t count) {
  uint64_t given[kWarp] = {};
  for (size_t lane = 0; lane < count; ++lane) {
    WEFT_CHECK(count == kWarp && lanes[lane].state == State::kInShuffle, "lane ", lane,
               " takes no part in a shuffle of its warp, of ", count, " threads");
    given[lane] = lanes[lane].bits;
  }
  for (size_t lane = 0; lane < count; ++lane) {
    lanes[lane].bits = given[lane ^ lanes[lane].mask];
    lanes[lane].state = State::kReady;
  }
}

// Until all lanes wait at the barrier or are done.
void run_warp(Thread* lanes, size_t count) {
  const auto waits = [](const Thread& t) { return t.state == State::kInShuffle; };
  do {
    if (std::any_of(lanes, lanes + count, waits)) finish_shuffle(lanes, count);
    in_order(count, [&](size_t lane) {
      if (lanes[lane].state == State::kReady) resume(lanes[lane]);
    });
  } while (std::any_of(lanes, lanes + count, waits));
}

// All variables that are static shared memory, and no others of this thread that are in use.
void fill_thread_locals() {
  const auto fill = [](dl_phdr_info* program, size_t, void*) {
    for (int i = 0; i < program->dlpi_phnum; ++i) {
      const auto& part = program->dlpi_phdr[i];
      if (part.p_type == PT_TLS) std::memset(program->dlpi_tls_data, kFill, part.p_memsz);
    }
    return 1;  // the first is this program itself; libraries follow
  };
  dl_iterate_phdr(fill, nullptr);
}

void run_block(size_t shared_bytes) {
  fill_thread_locals();
  block->shared.reset(new std::byte[shared_bytes]);
  std::memset(block->shared.get(), kFill, shared_bytes);
  std::vector<Thread>& threads = block->threads;
  for (size_t i = 0; i < threads.size(); ++i) {
    prepare(threads[i], block->stacks + i * kStackBytes);
  }
  const auto is_done = [](const Thread& t) { return t.state == State::kDone; };
  while (!std::all_of(threads.begin(), threads.end(), is_done)) {
    in_order((threads.size() + kWarp - 1) / kWarp, [&](size_t warp) {
      const size_t first = warp * kWarp;
      run_warp(&threads[first], std::min<size_t>(kWarp, threads.size() - first));
    });
    for (Thread& t : threads) {  // threads that are done do not count
      if (t.state == State::kAtBarrier) t.state = State::kReady;
    }
  }
}

}  // namespace

void set_order(Order wanted) { order = wanted; }

void run_grid(Index grid, Index shape, size_t shared_bytes, const std::function<void()>& thread) {
  Block here{&thread, {}, nullptr, {}, nullptr, nullptr};
  for (unsigned z = 0; z < shape.z; ++z) {
    for (unsigned y = 0; y < shape.y; ++y) {
      for (unsigned x = 0; x < shape.x; ++x) here.threads.push_back({nullptr, {x, y, z}, {}, 0, 0});
    }
  }
  here.stacks = stacks_for(here.threads.size());
  block = &here;
  blockDim = {shape.x, shape.y, shape.z};
  gridDim = {grid.x, grid.y, grid.z};
  const size_t plane = size_t{grid.x} * grid.y;
  // In a thread of its own, whose thread-local memory nobody else looks at.
  std::thread([&] {
    in_order(plane * grid.z, [&](size_t i) {
      blockIdx = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i % plane / grid.x),
                  static_cast<unsigned>(i / plane)};
      run_block(shared_bytes);
    });
  }).join();
  block = nullptr;
}

void wait_for_block() { leave(State::kAtBarrier); }

uint64_t exchange(uint64_t bits, unsigned mask) {
  Thread& self = *block->running;
  self.bits = bits;
  self.mask = mask;
  leave(State::kInShuffle);
  return self.bits;
}

void* dynamic_shared() { return block->shared.get(); }

}  // namespace weft::emulation
