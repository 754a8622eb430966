#include "models/kernels/silu_mul.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>

#include "models/kernels/cuda/silu_mul.h"
#include "models/kernels/dispatch.h"
#include "tests/cuda_emulation/results.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

// Rows of gate and up side by side; the first begins `offset` numbers into the memory, and `gap`
// more are between two of them.
struct Layout {
  int64_t rows, width, offset, gap;

  int64_t stride() const { return 2 * width + gap; }
  int64_t size() const { return offset + (rows - 1) * stride() + 2 * width; }
  Tensor gate(const Tensor& memory) const {
    return memory.as_strided({rows, width}, {stride(), 1}, offset);
  }
  Tensor up(const Tensor& memory) const {
    return memory.as_strided({rows, width}, {stride(), 1}, offset + width);
  }
};

template <class S>
Columns<S> columns(const Tensor& t) {
  return {values<S>(t), t.stride(0)};
}

// y, and in the layout of gate and up their gradients.
std::vector<Tensor> emulated(const Layout& at, const Tensor& memory, const Tensor& dy) {
  const Tensor y = blank(dy.sizes(), dy.scalar_type());
  const Tensor gradients = blank({at.size()}, dy.scalar_type());
  with_storage(memory, [&](auto storage) {
    using S = decltype(storage);
    const auto gate = columns<const S>(at.gate(memory)), up = columns<const S>(at.up(memory));
    cuda::silu_mul(SiluMulForward<S>{at.rows, at.width, gate, up, columns<S>(y)}, nullptr);
    cuda::silu_mul(SiluMulBackward<S>{at.rows, at.width, gate, up, columns<const S>(dy),
                                      columns<S>(at.gate(gradients)), columns<S>(at.up(gradients))},
                   nullptr);
  });
  return {y, gradients};
}

template <class F>
std::vector<Tensor> with_gradients(const F& f, const Tensor& gate, const Tensor& up,
                                   const Tensor& dy) {
  const Tensor g = gate.clone().set_requires_grad(true), u = up.clone().set_requires_grad(true);
  const Tensor y = f(g, u);
  y.backward(dy);
  return {y.detach(), g.grad(), u.grad()};
}

void expect_as_exact_as_twin(const Layout& at, at::ScalarType type) {
  const Tensor memory = fill({at.size()}, 0.3, 5).to(type);
  const Tensor dy = fill({at.rows, at.width}, 1).to(type);
  const auto out = in_both_orders([&] { return emulated(at, memory, dy); });
  const Tensor gate = at.gate(memory), up = at.up(memory);
  const auto twin =
      with_gradients([](const Tensor& g, const Tensor& u) { return silu_mul(g, u); }, gate, up, dy);
  const auto truth =
      with_gradients([](const Tensor& g, const Tensor& u) { return at::silu(g) * u; },
                     gate.to(at::kDouble), up.to(at::kDouble), dy.to(at::kDouble));
  expect_all_as_exact({out[0], at.gate(out[1]), at.up(out[1])}, twin, truth);
  Tensor rest = out[1].clone();
  at.gate(rest).fill_(0);
  at.up(rest).fill_(0);
  EXPECT_EQ(rest.isnan().sum().item<int64_t>(), at.size() - 2 * at.rows * at.width);
}

TEST(SiluMulEmulated, IsAsExactAsItsCpuTwin) {
  for (const at::ScalarType type : kStorageTypes) {
    for (const int64_t width : {1, 7, 8, 59, 300, 1032}) {
      for (const int64_t rows : {1, 37}) {
        for (const int64_t offset : {0, 1, 8}) {
          for (const int64_t gap : {0, 3, 8}) {
            SCOPED_TRACE(testing::Message() << type << " " << rows << "x" << width << " at "
                                            << offset << " and " << gap);
            expect_as_exact_as_twin({rows, width, offset, gap}, type);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace weft
