#include "models/kernels/layer_norm.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/layer_norm.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cpu/layer_norm.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/partials.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows of which one task is made: gradients of weight and bias are summed inside tasks, then over
// them in order.
constexpr int64_t kRowsPerTask = 128;

int64_t count_tasks(int64_t rows) { return (rows + kRowsPerTask - 1) / kRowsPerTask; }

// f(task, first row, number of rows) for all tasks on LibTorch's threads.
template <class F>
void for_tasks(int64_t rows, const F& f) {
  at::parallel_for(0, count_tasks(rows), 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task * kRowsPerTask;
      f(task, first, std::min(kRowsPerTask, rows - first));
    }
  });
}

class LayerNorm : public torch::autograd::Function<LayerNorm> {
 public:
  // x [rows, n], dense.
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const Tensor& bias, double eps, cpu::Isa isa) {
    const int64_t rows = x.size(0), width = x.size(1);
    const Tensor y = at::empty(x.sizes(), x.options());
    const Tensor statistics = at::empty({2, rows}, weight.options());  // means, scales
    ctx->save_for_backward({x, weight, statistics});
    ctx->saved_data["isa"] = static_cast<int64_t>(isa);
    const ProfileSpan span("weft::layer_norm", WorkKind::kNorm, moving({x, y}));
    with_storage(x, [&](auto storage) {
      using S = decltype(storage);
      using C = Compute<S>;
      const auto run = WEFT_KERNEL_FOR(isa, layer_norm_rows<S>);
      for_tasks(rows, [&](int64_t, int64_t first, int64_t count) {
        run({.rows = count,
             .width = width,
             .eps = static_cast<C>(eps),
             .x = values<const S>(x) + first * width,
             .weight = values<const C>(weight),
             .bias = values<const C>(bias),
             .y = values<S>(y) + first * width,
             .mean = values<C>(statistics) + first,
             .scale = values<C>(statistics) + rows + first});
      });
    });
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "layer_norm is differentiated at most once");
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &statistics = saved[2];
    const int64_t rows = x.size(0), width = x.size(1);
    const Tensor dy = grads[0].contiguous(), dx = at::empty(x.sizes(), x.options());
    const Tensor sums = at::empty({count_tasks(rows), 2, width}, weight.options());
    const auto isa = static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt());
    const ProfileSpan span("weft::layer_norm_backward", WorkKind::kNorm, moving({x, dy, dx}));
    with_storage(x, [&](auto storage) {
      using S = decltype(storage);
      using C = Compute<S>;
      const auto run = WEFT_KERNEL_FOR(isa, layer_norm_backward_rows<S>);
      for_tasks(rows, [&](int64_t task, int64_t first, int64_t count) {
        C* const dweight = values<C>(sums) + task * 2 * width;
        std::fill(dweight, dweight + 2 * width, C(0));
        run({.rows = count,
             .width = width,
             .x = values<const S>(x) + first * width,
             .weight = values<const C>(weight),
             .mean = values<const C>(statistics) + first,
             .scale = values<const C>(statistics) + rows + first,
             .dy = values<const S>(dy) + first * width,
             .dx = values<S>(dx) + first * width,
             .dweight = dweight,
             .dbias = dweight + width});
      });
    });
    const Tensor total = sum_partials(sums, at::empty({2, width}, weight.options()));
    return {dx, total.select(0, 0), total.select(0, 1), {}, {}};
  }
};

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
                  cpu::Isa isa) {
  const at::ScalarType type = x.scalar_type();
  const auto fits = [&](const Tensor& t) {
    return t.dim() == 1 && t.size(0) == x.size(-1) && t.scalar_type() == wide_type(type) &&
           t.device() == x.device();
  };
  WEFT_CHECK(is_storage(type) && x.dim() >= 1 && fits(weight) && fits(bias), "layer_norm of x ",
             x.toString(), " ", x.sizes(), ", weight ", weight.toString(), " ", weight.sizes(),
             ", bias ", bias.toString(), " ", bias.sizes());
  if (!x.is_cpu()) {
    return at::layer_norm(x.to(weight.scalar_type()), weight.sizes(), weight, bias, eps).to(type);
  }
  const int64_t width = x.size(-1);
  const Tensor rows = x.reshape({width == 0 ? 0 : x.numel() / width, width}).contiguous();
  return LayerNorm::apply(rows, weight.contiguous(), bias.contiguous(), eps, isa).view(x.sizes());
}

}  // namespace weft
