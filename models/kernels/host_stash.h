#pragma once
// Tensors that wait for the backward pass in host memory, so that a GPU has room for more tokens
// (activation offload; arXiv:2104.07857 5.1.1 does it with the inputs of recomputed layers).
#include <cstdint>
#include <memory>
#include <stdexcept>

#include "base/tensor.h"

namespace weft {

// The host has no pinned memory for a tensor.
class HostMemoryError : public std::runtime_error {
 public:
  explicit HostMemoryError(int64_t bytes);
};

// Of one forward pass. What is put there first is taken last. On a GPU both copies of a tensor run
// beside the computation, on streams of their own: out as soon as the tensor is put there, and back
// when the one that was put there after it is taken, a layer ahead. The last one stays on the
// device as well. So the device holds two of them at any time, on its current stream, which must be
// the same throughout. On the CPU, which has no other memory, copies are plain ones, for tests.
class HostStash final {
 public:
  HostStash();
  ~HostStash();
  HostStash(const HostStash&) = delete;
  HostStash& operator=(const HostStash&) = delete;

  // A place, counted from 0. The memory of the tensor put there before this one is free for others
  // if nobody else holds it. REQUIRES: nobody writes to t until the next one is put there, or it is
  // taken. Errors: HostMemoryError.
  size_t put(const Tensor& t);
  // The tensor again, dense and on its device. REQUIRES: it has not been taken before.
  Tensor take(size_t place);

 private:
  struct Entry;
  void copy_out(Entry& entry);
  void copy_back(Entry& entry);
  static void let_go(Entry& entry);

  struct Entries;
  std::unique_ptr<Entries> entries_;
};

}  // namespace weft
