#pragma once
// Tests of CUDA kernels skip for one reason only, and say so.
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

#define WEFT_NEEDS_CUDA_DEVICE() \
  if (c10::cuda::device_count() == 0) GTEST_SKIP() << "no CUDA device"
