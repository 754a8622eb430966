#include "models/kernels/silu_mul.h"

#include <optional>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/silu_mul.h"
#include "models/kernels/cuda/silu_mul.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/on_device.h"
#include "models/kernels/silu_mul_raw.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class S>
Columns<S> columns(const Tensor& rows, int64_t first = 0) {
  return {values<S>(rows) + first, rows.stride(0)};
}

// gate and up as rows; where `up` is undefined it stands behind gate in its rows.
struct Operands {
  Tensor gate, up;

  int64_t width() const { return up.defined() ? gate.size(1) : gate.size(1) / 2; }
  template <class S>
  Columns<S> gates() const {
    return columns<S>(gate);
  }
  template <class S>
  Columns<S> ups() const {
    return up.defined() ? columns<S>(up) : columns<S>(gate, width());
  }
};

template <class S>
S* row_of(const Columns<S>& columns, int64_t row) {
  return columns.data + row * columns.stride;
}

// f(row) for all rows on LibTorch's threads.
template <class F>
void for_rows(int64_t rows, int64_t width, const F& f) {
  constexpr int64_t kNumbersPerThread = 16 << 10;  // some 10 us
  at::parallel_for(0, rows, kNumbersPerThread / (width + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) f(row);
  });
}

template <class S>
void run_on_cpu(const SiluMulForward<S>& pass, cpu::Isa isa) {
  const auto range = WEFT_KERNEL_FOR(isa, silu_mul_range<S>);
  for_rows(pass.rows, pass.width, [&](int64_t row) {
    range(row_of(pass.gate, row), row_of(pass.up, row), row_of(pass.y, row), pass.width);
  });
}

template <class S>
void run_on_cpu(const SiluMulBackward<S>& pass, cpu::Isa isa) {
  const auto range = WEFT_KERNEL_FOR(isa, silu_mul_backward_range<S>);
  for_rows(pass.rows, pass.width, [&](int64_t row) {
    range(row_of(pass.gate, row), row_of(pass.up, row), row_of(pass.dy, row),
          row_of(pass.dgate, row), row_of(pass.dup, row), pass.width);
  });
}

// The pass (SiluMulForward or SiluMulBackward) on the device that its tensors are on.
template <class Pass>
void launch(const Pass& pass, const Tensor& gate, cpu::Isa isa) {
  on_device(
      "silu_mul", gate, [&](auto stream) { cuda::silu_mul(pass, stream); },
      [&] { run_on_cpu(pass, isa); });
}

Tensor forward_pass(const Operands& in, cpu::Isa isa) {
  const Tensor y = at::empty({in.gate.size(0), in.width()}, in.gate.options());
  if (y.numel() == 0) return y;
  const ProfileSpan span("weft::silu_mul", WorkKind::kElementwise, moving({in.gate, in.up, y}));
  with_storage(in.gate, [&](auto storage) {
    using S = decltype(storage);
    launch(SiluMulForward<S>{.rows = y.size(0),
                             .width = in.width(),
                             .gate = in.gates<const S>(),
                             .up = in.ups<const S>(),
                             .y = columns<S>(y)},
           in.gate, isa);
  });
  return y;
}

void backward_pass(const Operands& in, const Tensor& dy, const Operands& gradients, cpu::Isa isa) {
  if (dy.numel() == 0) return;
  const ProfileSpan span("weft::silu_mul_backward", WorkKind::kElementwise,
                         moving({in.gate, in.up, gradients.gate, gradients.up, dy}));
  with_storage(in.gate, [&](auto storage) {
    using S = decltype(storage);
    launch(SiluMulBackward<S>{.rows = dy.size(0),
                              .width = in.width(),
                              .gate = in.gates<const S>(),
                              .up = in.ups<const S>(),
                              .dy = columns<const S>(dy),
                              .dgate = gradients.gates<S>(),
                              .dup = gradients.ups<S>()},
           in.gate, isa);
  });
}

class SiluMul : public torch::autograd::Function<SiluMul> {
 public:
  // Rows; without `up`, of gate_up.
  static Tensor forward(AutogradContext* ctx, const Tensor& gate, const std::optional<Tensor>& up,
                        cpu::Isa isa) {
    const Operands in{gate, up.value_or(Tensor{})};
    ctx->save_for_backward({in.gate, in.up});
    ctx->saved_data["isa"] = static_cast<int64_t>(isa);
    return forward_pass(in, isa);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "silu_mul is differentiated at most once");
    const variable_list saved = ctx->get_saved_variables();
    const Operands in{saved[0], saved[1]};
    const auto empty_like = [](const Tensor& t) {
      return t.defined() ? at::empty(t.sizes(), t.options()) : Tensor{};
    };
    const Operands gradients{empty_like(in.gate), empty_like(in.up)};
    backward_pass(in, as_rows(grads[0]), gradients,
                  static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt()));
    return {gradients.gate, gradients.up, {}};
  }
};

void check_type(const Tensor& t) {
  const at::ScalarType type = t.scalar_type();
  WEFT_CHECK(is_storage(type), "silu_mul is for fp32, fp64 and bf16, not ", type);
}

std::vector<int64_t> with_width(const Tensor& t, int64_t width) {
  std::vector<int64_t> shape = t.sizes().vec();
  shape.back() = width;
  return shape;
}

}  // namespace

Tensor silu_mul(const Tensor& gate, const Tensor& up, cpu::Isa isa) {
  WEFT_CHECK(gate.dim() >= 1 && gate.sizes() == up.sizes() &&
                 gate.scalar_type() == up.scalar_type() && gate.device() == up.device(),
             "silu_mul of gate ", gate.sizes(), " and up ", up.sizes());
  check_type(gate);
  return SiluMul::apply(as_rows(gate), std::optional(as_rows(up)), isa).view(gate.sizes());
}

Tensor silu_mul(const Tensor& gate_up, cpu::Isa isa) {
  WEFT_CHECK(gate_up.dim() >= 1 && gate_up.size(-1) % 2 == 0, "silu_mul of ", gate_up.sizes());
  check_type(gate_up);
  const int64_t width = gate_up.size(-1) / 2;
  return SiluMul::apply(as_rows(gate_up), std::nullopt, isa).view(with_width(gate_up, width));
}

}  // namespace weft
