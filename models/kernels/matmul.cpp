#include "models/kernels/matmul.h"

#include <algorithm>
#include <optional>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/column_sums.h"
#include "models/kernels/cpu/block_product.h"
#include "models/kernels/cpu/matmul.h"
#include "models/kernels/dispatch.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Types that blocks are multiplied in.
bool is_block_type(const Tensor& t) {
  return t.is_cpu() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16);
}

bool has_blocks_of(const Tensor& t) {
  return t.scalar_type() == at::kFloat ? cpu::has_block_products<float>()
                                       : cpu::has_block_products<Bf16>();
}

// What blocks can be multiplied into.
bool are_blocks(const Tensor& a, const Tensor& b, const Tensor& out) {
  return is_block_type(a) && b.is_cpu() && b.scalar_type() == a.scalar_type() && out.is_cpu() &&
         out.scalar_type() == at::kFloat && has_blocks_of(a);
}

void check_matrices(const Tensor& a, const Tensor& b, const Tensor& out) {
  WEFT_CHECK(a.dim() == 2 && b.dim() == 2 && out.dim() == 2 && a.size(1) == b.size(0) &&
                 out.size(0) == a.size(0) && out.size(1) == b.size(1),
             "a product of ", a.sizes(), " and ", b.sizes(), " into ", out.sizes());
  const bool wider = a.scalar_type() == at::kBFloat16 && out.scalar_type() == at::kFloat;
  WEFT_CHECK(b.scalar_type() == a.scalar_type() && (out.scalar_type() == a.scalar_type() || wider),
             "a product of ", a.toString(), " and ", b.toString(), " into ", out.toString());
}

// Of fp32 matrices: Intel's library, which LibTorch uses, takes the full width on Intel's own
// processors.
bool are_fp32_blocks_faster() {
#if defined(__x86_64__)
  static const bool faster = !__builtin_cpu_is("intel");
  return faster;
#else
  return false;
#endif
}

// Below that, tasks and copies cost more than the wider units gain.
bool is_large(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kLeastSide = 32, kLeastProducts = int64_t{1} << 21;
  return std::min({m, n, k}) >= kLeastSide && m * n * k >= kLeastProducts;
}

// A matrix with a dense dimension, and no number twice: itself, or a copy.
Tensor with_dense_side(const Tensor& t) {
  const bool rows = t.stride(1) == 1 && t.stride(0) >= t.size(1);
  const bool columns = t.stride(0) == 1 && t.stride(1) >= t.size(0);
  return rows || columns ? t : t.clone(at::MemoryFormat::Contiguous);
}

template <class S>
cpu::Matrix<S> raw(const Tensor& t) {
  const bool by_rows = t.stride(1) == 1 && t.stride(0) >= t.size(1);
  return {static_cast<const S*>(t.const_data_ptr()), by_rows ? t.stride(0) : 1,
          by_rows ? 1 : t.stride(1)};
}

template <class S>
void run(Tensor& out, const Tensor& a, const Tensor& b, Into into, const Tensor& bias,
         cpu::Isa isa) {
  cpu::matmul<S>({.m = a.size(0),
                  .n = b.size(1),
                  .k = a.size(1),
                  .a = raw<S>(a),
                  .b = raw<S>(b),
                  .c = values<float>(out),
                  .c_row = out.stride(0),
                  .bias = bias.defined() ? values<const S>(bias) : nullptr,
                  .into = into},
                 isa);
}

// Whether linear_product is made of our blocks.
bool is_ours(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const auto is_fp32 = [](const Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kFloat; };
  const int64_t in = weight.size(1);
  return is_fp32(x) && is_fp32(weight) && (!bias.defined() || is_fp32(bias)) &&
         has_matmul(at::kFloat) && are_fp32_blocks_faster() && in > 0 &&
         is_large(x.numel() / in, weight.size(0), in);
}

Tensor linear_values(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!is_ours(x, weight, bias)) {
    return bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
  }
  Tensor y = at::empty({x.size(0), weight.size(0)}, x.options());
  multiply_blocks_into(y, x, weight.t(), Into::kResult, bias, cpu::best_isa());
  return y;
}

// Besides x and the weights: the result where it is known, and then need not be computed, and what
// gradients are added to.
struct LinearExtras {
  Tensor known;
  LinearSums sums;
};

// x [rows, in], weight [out, in].
class LinearProduct : public torch::autograd::Function<LinearProduct> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias, const LinearExtras& extras) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["bias"] = bias.has_value();
    if (extras.sums.weight.defined()) {
      ctx->saved_data["weight_sum"] = extras.sums.weight;
      if (bias.has_value()) ctx->saved_data["bias_sum"] = extras.sums.bias;
    }
    return extras.known.defined() ? extras.known
                                  : linear_values(x, weight, bias.value_or(Tensor{}));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &dy = grads[0];
    WEFT_CHECK(!at::GradMode::is_enabled(), "linear_product is differentiated at most once");
    Tensor dx;
    if (ctx->needs_input_grad(0)) {
      dx = at::empty(x.sizes(), x.options());
      multiply_into(dx, dy, weight);
    }
    const bool has_bias = ctx->saved_data["bias"].toBool();
    const bool weight_wanted = ctx->needs_input_grad(1);
    const bool bias_wanted = has_bias && ctx->needs_input_grad(2);
    if (ctx->saved_data.count("weight_sum") > 0) {
      if (weight_wanted) add_product(ctx->saved_data["weight_sum"].toTensor(), dy, x);
      if (bias_wanted) add_column_sums(ctx->saved_data["bias_sum"].toTensor(), dy);
      return {dx, {}, {}, {}};
    }
    Tensor dweight;
    if (weight_wanted) {
      dweight = at::empty(weight.sizes(), weight.options());
      multiply_into(dweight, dy.t(), x);
    }
    return {dx, dweight, bias_wanted ? dy.sum(0) : Tensor{}, {}};
  }

 private:
  static void add_product(Tensor sum, const Tensor& dy, const Tensor& x) {
    if (dy.size(0) > 0) multiply_into(sum, dy.t(), x, Into::kSum);
  }
};

}  // namespace

bool has_matmul(at::ScalarType type) {
  return type == at::kFloat ? cpu::has_block_products<float>()
                            : type == at::kBFloat16 && cpu::has_block_products<Bf16>();
}

void multiply_blocks_into(Tensor& out, const Tensor& a, const Tensor& b, Into into,
                          const Tensor& bias, cpu::Isa isa) {
  check_matrices(a, b, out);
  WEFT_CHECK(are_blocks(a, b, out) && (out.stride(1) == 1 || out.size(1) <= 1),
             "multiply_blocks_into of ", a.toString(), " into ", out.toString(), " of strides ",
             out.strides(), " on this machine");
  WEFT_CHECK(!bias.defined() || (bias.scalar_type() == a.scalar_type() && bias.dim() == 1 &&
                                 bias.size(0) == b.size(1)),
             "multiply_blocks_into: a bias of ", bias.defined() ? bias.sizes() : at::IntArrayRef{});
  if (out.numel() == 0) return;
  const Tensor left = with_dense_side(a), right = with_dense_side(b);
  const Tensor dense_bias = bias.defined() ? bias.contiguous() : bias;
  if (a.size(1) == 0) {  // an empty sum
    if (into == Into::kResult) out.zero_();
    if (bias.defined()) out.add_(bias);
    return;
  }
  Work work = moving({a, b, out});
  work.flops = 2.0 * static_cast<double>(a.numel()) * static_cast<double>(b.size(1));
  const ProfileSpan span("weft::matmul", WorkKind::kProduct, work);
  if (a.scalar_type() == at::kFloat) {
    run<float>(out, left, right, into, dense_bias, isa);
  } else {
    run<Bf16>(out, left, right, into, dense_bias, isa);
  }
}

void multiply_into(Tensor& out, const Tensor& a, const Tensor& b, Into into) {
  check_matrices(a, b, out);
  const bool add = into == Into::kSum;
  const bool faster = a.scalar_type() != at::kFloat || are_fp32_blocks_faster();
  const bool ours = are_blocks(a, b, out) && faster && out.stride(1) == 1 &&
                    is_large(a.size(0), b.size(1), a.size(1));
  if (ours) {
    multiply_blocks_into(out, a, b, into, {}, cpu::best_isa());
  } else if (out.scalar_type() != a.scalar_type() && out.is_cpu()) {
    multiply_into(out, a.to(out.scalar_type()), b.to(out.scalar_type()), into);
  } else if (out.scalar_type() != a.scalar_type()) {
    const Tensor product = at::mm(a, b);
    add ? out.add_(product) : out.copy_(product);
  } else if (add) {
    at::addmm_out(out, out, a, b);
  } else {
    at::mm_out(out, a, b);
  }
}

Tensor linear_product(const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const LinearSums& sums, Values values) {
  const int64_t in = weight.size(1), out = weight.size(0);
  const auto fits = [](const Tensor& sum, const Tensor& of) {
    return sum.defined() == of.defined() &&
           (!of.defined() ||
            (sum.sizes() == of.sizes() && sum.scalar_type() == wide_type(of.scalar_type())));
  };
  WEFT_CHECK(!sums.weight.defined() || (fits(sums.weight, weight) && fits(sums.bias, bias)),
             "linear_product of a weight ", weight.toString(), " ", weight.sizes(),
             " with sums of other shapes or types");
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = out;
  const auto apply = [&](const Tensor& known) {
    const std::optional<Tensor> maybe_bias = bias.defined() ? std::optional(bias) : std::nullopt;
    return LinearProduct::apply(x.reshape({-1, in}), weight, maybe_bias, LinearExtras{known, sums})
        .reshape(shape);
  };
  const bool empty = x.numel() == 0 || out == 0;
  if (!empty) {
    const Tensor known = known_result({x.numel() / in, out}, x.options(), values);
    if (known.defined()) return apply(known);
  }
  // LibTorch's own autograd node where ours has nothing to add.
  const bool plain =
      !is_ours(x, weight, bias) && (!sums.weight.defined() || !at::GradMode::is_enabled());
  const Tensor y = plain && bias.defined() ? at::linear(x, weight, bias)
                   : plain                 ? at::linear(x, weight)
                                           : apply({});
  if (!empty) keep_result(y.reshape({-1, out}));
  return y;
}

}  // namespace weft
