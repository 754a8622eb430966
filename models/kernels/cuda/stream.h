#pragma once
// The CUDA runtime's name of a stream, so that operators can name kernels of GPUs in a program that
// is built without CUDA's headers, too.

struct CUstream_st;
using cudaStream_t = CUstream_st*;
