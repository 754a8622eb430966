#pragma once
// Tensors that wait for the backward pass in host memory, so that a GPU has room for more tokens
// (activation offload; arXiv:2104.07857 5.1.1 does it with the inputs of recomputed layers).
#include <memory>

#include "base/tensor.h"

namespace weft {

// Of one forward pass. What is put there first is taken last. On a GPU both copies of a tensor run
// beside the computation, on streams of their own: out as soon as the tensor is put there, and back
// when the one that was put there after it is taken, a layer ahead. On the CPU, which has no other
// memory, copies are plain ones, for tests.
class HostStash final {
 public:
  HostStash();
  ~HostStash();
  HostStash(const HostStash&) = delete;
  HostStash& operator=(const HostStash&) = delete;

  // A place, counted from 0. The tensor's own memory is free for others once it has been copied and
  // nobody else holds it.
  size_t put(const Tensor& t);
  // The tensor again, dense and on its device, to be used on the current stream. REQUIRES: it has
  // not been taken before.
  Tensor take(size_t place);

 private:
  struct Entry;
  std::unique_ptr<Entry> make_entry(const Tensor& t);
  void fetch(Entry& entry);

  struct Entries;
  std::unique_ptr<Entries> entries_;
};

}  // namespace weft
