#pragma once
// LibTorch's random numbers, drawn a second time where a part of a model is computed again
// (arXiv:1604.06174): what it drops out must be the same both times.
#include <vector>

#include <ATen/core/Generator.h>

#include "base/tensor.h"

namespace weft {

// Where the default generators of the CPU and of `device` stand.
class RandomState final {
 public:
  explicit RandomState(at::Device device);
  void restore() const;

 private:
  struct Of {
    at::Generator generator;
    Tensor state;
  };
  std::vector<Of> states_;
};

// While it lives, those generators give the numbers that they gave behind `from`; then they go on
// where they were.
class Replay final {
 public:
  Replay(const RandomState& from, at::Device device) : interrupted_(device) { from.restore(); }
  ~Replay() { interrupted_.restore(); }
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

 private:
  RandomState interrupted_;
};

}  // namespace weft
