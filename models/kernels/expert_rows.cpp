#include "models/kernels/expert_rows.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/cpu/expert_rows.h"
#include "models/kernels/cpu/kernel_for.h"
#include "models/kernels/cuda/expert_rows.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/on_device.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// How many rows give a thread some 10 us of work, of `numbers` numbers each.
int64_t rows_per_thread(int64_t numbers) {
  constexpr int64_t kNumbersPerThread = 16 << 10;
  return kNumbersPerThread / (numbers + 1) + 1;
}

template <class S>
void run(const CombineRows<S>& of, const Tensor& out, cpu::Isa isa) {
  on_device(
      "combine_rows", out, [&](auto stream) { cuda::combine_rows(of, stream); },
      [&] {
        const auto range = WEFT_KERNEL_FOR(isa, combine_rows<S>);
        at::parallel_for(0, of.tokens, rows_per_thread(of.top_k * of.width),
                         [&](int64_t begin, int64_t end) { range(of, begin, end); });
      });
}

template <class S>
void run(const SpreadRows<S>& of, const Tensor& out, cpu::Isa isa) {
  on_device(
      "spread_rows", out, [&](auto stream) { cuda::spread_rows(of, stream); },
      [&] {
        const auto range = WEFT_KERNEL_FOR(isa, spread_rows<S>);
        at::parallel_for(0, of.rows, rows_per_thread(of.width),
                         [&](int64_t begin, int64_t end) { range(of, begin, end); });
      });
}

// Whether every row of t [.., d] begins at a multiple of 16 bytes.
bool has_aligned_rows(const Tensor& t) {
  constexpr int64_t kBytes = 16;
  return t.numel() == 0 || (reinterpret_cast<uintptr_t>(t.const_data_ptr()) % kBytes == 0 &&
                            t.size(1) * t.element_size() % kBytes == 0);
}

// rows [R, d] -> [n, d]: each token's rows, at row [n, k], times weights [n, k] (undefined: 1),
// added up.
Tensor combine(const Tensor& rows, const Tensor& row, const Tensor& weights, cpu::Isa isa) {
  const int64_t width = rows.size(1);
  const Tensor out = at::empty({row.size(0), width}, rows.options());
  if (out.numel() == 0) return out;
  const ProfileSpan span("weft::combine_rows", WorkKind::kElementwise,
                         moving({out, weights, rows}));
  with_storage(out, [&](auto storage) {
    using S = decltype(storage);
    run(CombineRows<S>{.tokens = out.size(0),
                       .top_k = row.size(1),
                       .width = width,
                       .in = values<const S>(rows),
                       .row = values<const int64_t>(row),
                       .weights = weights.defined() ? values<const Compute<S>>(weights) : nullptr,
                       .out = values<S>(out),
                       .aligned = has_aligned_rows(out) && has_aligned_rows(rows)},
        out, isa);
  });
  return out;
}

// Products of tokens with their rows of `rows` [R, d], which `spread` leaves in `products` [n, k].
struct Dots {
  const Tensor& rows;
  const Tensor& products;
};

// tokens [n, d], dense -> rows [R, d]: each token times its weight, of [n, k] (undefined: 1).
// `dots` may be null.
Tensor spread(const Tensor& tokens, const Tensor& assignment, int64_t top_k, const Tensor& weights,
              const Dots* dots, cpu::Isa isa) {
  const int64_t width = tokens.size(1);
  const Tensor out = at::empty({assignment.size(0), width}, tokens.options());
  if (out.numel() == 0) return out;
  const Work work = dots != nullptr ? moving({tokens, out, out}) : moving({tokens, out});
  const ProfileSpan span("weft::spread_rows",
                         weights.defined() ? WorkKind::kElementwise : WorkKind::kCopy, work);
  with_storage(out, [&](auto storage) {
    using S = decltype(storage);
    using C = Compute<S>;
    run(SpreadRows<S>{.rows = out.size(0),
                      .top_k = top_k,
                      .width = width,
                      .assignment = values<const int64_t>(assignment),
                      .tokens = values<const S>(tokens),
                      .weights = weights.defined() ? values<const C>(weights) : nullptr,
                      .out = values<S>(out),
                      .in = dots != nullptr ? values<const S>(dots->rows) : nullptr,
                      .dots = dots != nullptr ? values<C>(dots->products) : nullptr,
                      .aligned = has_aligned_rows(tokens) && has_aligned_rows(out) &&
                                 (dots == nullptr || has_aligned_rows(dots->rows))},
        out, isa);
  });
  return out;
}

class ToExperts final : public torch::autograd::Function<ToExperts> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& tokens, const ExpertRows& rows,
                        cpu::Isa isa) {
    ctx->save_for_backward({rows.row});
    ctx->saved_data["isa"] = static_cast<int64_t>(isa);
    return spread(tokens, rows.assignment, rows.row.size(1), {}, nullptr, isa);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "to_experts is differentiated at most once");
    return {combine(grads[0].contiguous(), ctx->get_saved_variables()[0], {},
                    static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt())),
            {},
            {}};
  }
};

class FromExperts final : public torch::autograd::Function<FromExperts> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& outputs, const Tensor& weights,
                        const ExpertRows& rows, cpu::Isa isa) {
    ctx->save_for_backward(
        {weights, rows.assignment, weights.requires_grad() ? outputs : Tensor()});
    ctx->saved_data["isa"] = static_cast<int64_t>(isa);
    return combine(outputs, rows.row, weights, isa);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "from_experts is differentiated at most once");
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &weights = saved[0], &assignment = saved[1];
    const auto isa = static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt());
    const Tensor dout = grads[0].contiguous();
    Tensor dweights;
    const bool weights_wanted = ctx->needs_input_grad(1);
    if (weights_wanted) dweights = at::zeros(weights.sizes(), weights.options());
    const Dots dots{saved[2], dweights};
    const Tensor drows =
        spread(dout, assignment, weights.size(1), weights, weights_wanted ? &dots : nullptr, isa);
    return {drows, dweights, {}, {}};
  }
};

}  // namespace

ExpertRows expert_rows(const Tensor& experts, int64_t num_experts, int64_t multiple) {
  WEFT_CHECK(experts.dim() == 2 && experts.size(1) >= 1 && experts.scalar_type() == at::kLong &&
                 num_experts >= 1 && multiple >= 1,
             "expert_rows of experts ", experts.toString(), " ", experts.sizes(), ", ", num_experts,
             " in all, by ", multiple);
  const Tensor flat = experts.reshape(-1);
  const Tensor positions = at::arange(flat.numel(), flat.options());
  const Tensor order = at::argsort(flat, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  ExpertRows rows;
  rows.counts = at::bincount(flat, /*weights=*/{}, num_experts).cpu();
  WEFT_CHECK(rows.counts.numel() == num_experts, "expert ", rows.counts.numel() - 1, " of ",
             num_experts);
  std::vector<int64_t> padding_before, sizes;
  int64_t padding = 0;
  for (int64_t e = 0; e < num_experts; ++e) {
    const int64_t count = rows.counts.const_data_ptr<int64_t>()[e];
    sizes.push_back((count + multiple - 1) / multiple * multiple);
    padding_before.push_back(padding);
    padding += sizes.back() - count;
  }
  const Tensor shift = at::tensor(padding_before, at::kLong).to(flat.device());
  const Tensor row = shift.index_select(0, flat).scatter_add_(0, order, positions);
  rows.assignment = at::full({flat.numel() + padding}, -1, flat.options());
  rows.assignment.scatter_(0, row, positions);
  rows.row = row.view(experts.sizes());
  rows.groups = row_groups(std::move(sizes), flat.device());
  return rows;
}

Tensor to_experts(const Tensor& tokens, const ExpertRows& rows, cpu::Isa isa) {
  const at::ScalarType type = tokens.scalar_type();
  WEFT_CHECK(is_storage(type) && tokens.dim() == 2 && tokens.size(0) == rows.row.size(0) &&
                 tokens.device() == rows.row.device(),
             "to_experts of tokens ", tokens.toString(), " ", tokens.sizes(), " on ",
             tokens.device(), ", where experts are ", rows.row.sizes(), " on ", rows.row.device());
  return ToExperts::apply(tokens.contiguous(), rows, isa);
}

Tensor from_experts(const Tensor& outputs, const Tensor& weights, const ExpertRows& rows,
                    cpu::Isa isa) {
  const at::ScalarType type = outputs.scalar_type();
  WEFT_CHECK(is_storage(type) && outputs.dim() == 2 && outputs.size(0) == rows.assignment.size(0) &&
                 outputs.device() == rows.row.device(),
             "from_experts of outputs ", outputs.toString(), " ", outputs.sizes(), " on ",
             outputs.device(), ", expected ", rows.assignment.size(0), " rows on ",
             rows.row.device());
  WEFT_CHECK(weights.sizes() == rows.row.sizes() && weights.scalar_type() == wide_type(type) &&
                 weights.device() == rows.row.device(),
             "from_experts: weights are ", weights.toString(), " ", weights.sizes(), " on ",
             weights.device(), ", expected ", at::toString(wide_type(type)), " ", rows.row.sizes(),
             " on ", rows.row.device());
  return FromExperts::apply(outputs.contiguous(), weights.contiguous(), rows, isa);
}

}  // namespace weft
