#pragma once
// The chunked form of the SSD operator (spec/models.md 10) for a few chunks at once, forward and
// backward. Inside a chunk of q tokens the outputs are M u, where u = dt x and
//   M[i,j] = C_i.B_j exp(s_i - s_j) for i >= j of one document, s the running sums of dt a;
// from chunk to chunk goes the state h. Tensors of a pass lie head by head and with the tokens
// innermost, [rows, chunks, Hs, P, q]: the heads of a group are then adjacent rows of one matrix
// of (Hs / G) P rows, which multiplies the B or C of the group as it is.
#include <vector>

#include "models/kernels/ssd.h"

namespace weft::internal {

// Whole chunks of equal length, of some rows of the batch: what is computed at once.
struct SsdPass {
  int64_t row, rows;      // the rows row .. row + rows - 1
  int64_t first;          // the first chunk's first token
  int64_t chunk, chunks;  // the number of the first chunk in its row; how many
  int64_t length;         // tokens per chunk; shorter than the others in the row's last
};

// The passes that make up all rows, each row's in the order of time. A pass is as large as a
// limit on its memory allows, and one chunk of one row at least.
std::vector<SsdPass> ssd_passes(const SsdInputs& in, int64_t chunk_size);

struct SsdGradients {
  Tensor x, dt, b, c;  // as the inputs
  Tensor da;           // [Bz, T, Hs]: what a token adds to the gradient of a
  Tensor dd;           // [Bz, T, Hs]: and of d
};

// Writes y [Bz, T, Hs, P] at the pass's tokens; `state` [rows, Hs, P, N], which enters the pass,
// becomes the one that leaves it, in place where it is dense. Returns the states that enter the
// chunks, [rows, chunks, Hs, P, N].
Tensor ssd_forward(const SsdInputs& in, const SsdPass& pass, const Tensor& y, Tensor& state);

// Writes the gradients at the pass's tokens. `entering` is what ssd_forward returned, dy the
// gradient of y; `dstate`, the gradient of the state that leaves the pass, becomes that of the one
// that enters it, in place where it is dense.
void ssd_backward(const SsdInputs& in, const SsdPass& pass, const Tensor& entering,
                  const Tensor& dy, Tensor& dstate, const SsdGradients& gradients);

}  // namespace weft::internal
