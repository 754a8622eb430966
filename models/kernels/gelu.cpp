#include "models/kernels/gelu.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/cpu/gelu.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/dispatch.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// f(begin, end) for ranges of `count` numbers on LibTorch's threads.
template <class F>
void for_ranges(int64_t count, const F& f) {
  constexpr int64_t kNumbersPerThread = 16 << 10;  // some 10 us
  at::parallel_for(0, count, kNumbersPerThread, f);
}

class Gelu : public torch::autograd::Function<Gelu> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, cpu::Isa isa) {
    ctx->save_for_backward({x});
    ctx->saved_data["isa"] = static_cast<int64_t>(isa);
    const Tensor y = at::empty(x.sizes(), x.options());
    const ProfileSpan span("weft::gelu", WorkKind::kElementwise, moving({x, y}));
    with_storage(x, [&](auto storage) {
      using S = decltype(storage);
      const auto range = WEFT_KERNEL_FOR(isa, gelu_range<S>);
      for_ranges(x.numel(), [&](int64_t begin, int64_t end) {
        range(values<const S>(x) + begin, values<S>(y) + begin, end - begin);
      });
    });
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "gelu_tanh is differentiated at most once");
    const Tensor x = ctx->get_saved_variables()[0], dy = grads[0].contiguous();
    const Tensor dx = at::empty(x.sizes(), x.options());
    const auto isa = static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt());
    const ProfileSpan span("weft::gelu_backward", WorkKind::kElementwise, moving({x, dy, dx}));
    with_storage(x, [&](auto storage) {
      using S = decltype(storage);
      const auto range = WEFT_KERNEL_FOR(isa, gelu_backward_range<S>);
      for_ranges(x.numel(), [&](int64_t begin, int64_t end) {
        range(values<const S>(x) + begin, values<const S>(dy) + begin, values<S>(dx) + begin,
              end - begin);
      });
    });
    return {dx, {}};
  }
};

}  // namespace

Tensor gelu_tanh(const Tensor& x, cpu::Isa isa) {
  const at::ScalarType type = x.scalar_type();
  WEFT_CHECK(is_storage(type), "gelu_tanh is for fp32, fp64 and bf16, not ", type);
  return x.is_cpu() ? Gelu::apply(x.contiguous(), isa) : at::gelu(x, "tanh");
}

}  // namespace weft
