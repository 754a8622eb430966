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

// Each expert's rows, dense, and what finds them.
struct Pieces {
  std::vector<Tensor> pieces;
  Tensor experts, row;  // of ExpertRows
  Tensor table;         // ExpertPiece<S> [E] in bytes, where the pieces are

  Pieces(at::TensorList of, const Tensor& of_experts, const Tensor& of_row)
      : experts(of_experts), row(of_row) {
    for (const Tensor& piece : of) pieces.push_back(piece.contiguous());
    with_storage(pieces[0], [&](auto storage) { fill_table<decltype(storage)>(); });
  }

  template <class S>
  ExpertPieces<S> raw() const {
    return {values<const ExpertPiece<S>>(table), values<const int64_t>(experts),
            values<const int64_t>(row)};
  }
  bool are_aligned() const { return std::all_of(pieces.begin(), pieces.end(), has_aligned_rows); }

 private:
  template <class S>
  void fill_table() {
    const auto count = static_cast<int64_t>(pieces.size());
    const Tensor here =
        at::empty({count * static_cast<int64_t>(sizeof(ExpertPiece<S>))}, at::kByte);
    auto* entry = values<ExpertPiece<S>>(here);
    int64_t first = 0;
    for (const Tensor& piece : pieces) {
      *entry++ = {values<const S>(piece), first};
      first += piece.size(0);
    }
    // Without waiting for the device, which has the experts' products to do meanwhile.
    table = here.to(pieces[0].device(), at::kByte, /*non_blocking=*/true);
  }
};

// pieces -> [n, d]: each token's rows times weights [n, k] (undefined: 1), added up.
Tensor combine(const Pieces& in, const Tensor& weights, cpu::Isa isa) {
  const int64_t width = in.pieces[0].size(1);
  const Tensor out = at::empty({in.experts.size(0), width}, in.pieces[0].options());
  if (out.numel() == 0) return out;
  Work work = moving({out, weights});
  for (const Tensor& piece : in.pieces) work.bytes += static_cast<double>(piece.nbytes());
  const ProfileSpan span("weft::combine_rows", WorkKind::kElementwise, work);
  with_storage(out, [&](auto storage) {
    using S = decltype(storage);
    run(CombineRows<S>{.tokens = out.size(0),
                       .top_k = in.experts.size(1),
                       .width = width,
                       .in = in.raw<S>(),
                       .weights = weights.defined() ? values<const Compute<S>>(weights) : nullptr,
                       .out = values<S>(out),
                       .aligned = has_aligned_rows(out) && in.are_aligned()},
        out, isa);
  });
  return out;
}

// Products of tokens with their rows of `rows`, which `spread` leaves in `products` [n, k].
struct Dots {
  const Pieces& rows;
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
                      .in = dots != nullptr ? dots->rows.raw<S>() : ExpertPieces<S>{},
                      .dots = dots != nullptr ? values<C>(dots->products) : nullptr,
                      .aligned = has_aligned_rows(tokens) && has_aligned_rows(out) &&
                                 (dots == nullptr || dots->rows.are_aligned())},
        out, isa);
  });
  return out;
}

class ToExperts final : public torch::autograd::Function<ToExperts> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& tokens, const ExpertRows& rows,
                               cpu::Isa isa) {
    ctx->save_for_backward({rows.experts, rows.row});
    ctx->saved_data["isa"] = static_cast<int64_t>(isa);
    return spread(tokens, rows.assignment, rows.experts.size(1), {}, nullptr, isa)
        .split_with_sizes(rows.sizes);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "to_experts is differentiated at most once");
    const variable_list saved = ctx->get_saved_variables();
    return {combine(Pieces(grads, saved[0], saved[1]), {},
                    static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt())),
            {},
            {}};
  }
};

class FromExperts final : public torch::autograd::Function<FromExperts> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& weights, at::TensorList outputs,
                        const ExpertRows& rows, cpu::Isa isa) {
    variable_list saved = {weights, rows.experts, rows.row, rows.assignment};
    if (weights.requires_grad()) saved.insert(saved.end(), outputs.begin(), outputs.end());
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["sizes"] = rows.sizes;
    ctx->saved_data["isa"] = static_cast<int64_t>(isa);
    return combine(Pieces(outputs, rows.experts, rows.row), weights, isa);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "from_experts is differentiated at most once");
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &weights = saved[0], &assignment = saved[3];
    const std::vector<int64_t> sizes = ctx->saved_data["sizes"].toIntVector();
    const auto isa = static_cast<cpu::Isa>(ctx->saved_data["isa"].toInt());
    const Tensor dout = grads[0].contiguous();
    const int64_t top_k = weights.size(1);
    Tensor drows, dweights;
    if (ctx->needs_input_grad(0)) {
      const Pieces outputs(at::TensorList(saved).slice(4), saved[1], saved[2]);
      dweights = at::zeros(weights.sizes(), weights.options());
      const Dots dots{outputs, dweights};
      drows = spread(dout, assignment, top_k, weights, &dots, isa);
    } else {
      drows = spread(dout, assignment, top_k, weights, nullptr, isa);
    }
    variable_list gradients = drows.split_with_sizes(sizes);
    gradients.insert(gradients.begin(), dweights);
    gradients.resize(gradients.size() + 2);  // rows and isa have no gradient
    return gradients;
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
  rows.experts = experts.contiguous();
  rows.counts = at::bincount(flat, /*weights=*/{}, num_experts).cpu();
  WEFT_CHECK(rows.counts.numel() == num_experts, "expert ", rows.counts.numel() - 1, " of ",
             num_experts);
  std::vector<int64_t> padding_before;
  int64_t padding = 0;
  for (int64_t e = 0; e < num_experts; ++e) {
    const int64_t count = rows.counts.const_data_ptr<int64_t>()[e];
    rows.sizes.push_back((count + multiple - 1) / multiple * multiple);
    padding_before.push_back(padding);
    padding += rows.sizes.back() - count;
  }
  const Tensor shift = at::tensor(padding_before, at::kLong).to(flat.device());
  const Tensor row = shift.index_select(0, flat).scatter_add_(0, order, positions);
  rows.assignment = at::full({flat.numel() + padding}, -1, flat.options());
  rows.assignment.scatter_(0, row, positions);
  rows.row = row.view(experts.sizes());
  return rows;
}

std::vector<Tensor> to_experts(const Tensor& tokens, const ExpertRows& rows, cpu::Isa isa) {
  const at::ScalarType type = tokens.scalar_type();
  WEFT_CHECK(is_storage(type) && tokens.dim() == 2 && tokens.size(0) == rows.experts.size(0) &&
                 tokens.device() == rows.experts.device(),
             "to_experts of tokens ", tokens.toString(), " ", tokens.sizes(), " on ",
             tokens.device(), ", where experts are ", rows.experts.sizes(), " on ",
             rows.experts.device());
  return ToExperts::apply(tokens.contiguous(), rows, isa);
}

Tensor from_experts(const std::vector<Tensor>& outputs, const Tensor& weights,
                    const ExpertRows& rows, cpu::Isa isa) {
  WEFT_CHECK(outputs.size() == rows.sizes.size(), "from_experts: outputs of ", outputs.size(),
             " experts, expected ", rows.sizes.size());
  const at::ScalarType type = outputs[0].scalar_type();
  for (size_t e = 0; e < outputs.size(); ++e) {
    const Tensor& y = outputs[e];
    WEFT_CHECK(is_storage(type) && y.scalar_type() == type && y.dim() == 2 &&
                   y.size(0) == rows.sizes[e] && y.size(1) == outputs[0].size(1) &&
                   y.device() == rows.experts.device(),
               "from_experts: the output of expert ", e, " is ", y.toString(), " ", y.sizes(),
               " on ", y.device(), ", expected ", rows.sizes[e], " rows like expert 0's, ",
               outputs[0].toString(), " ", outputs[0].sizes(), " on ", rows.experts.device());
  }
  WEFT_CHECK(weights.sizes() == rows.experts.sizes() && weights.scalar_type() == wide_type(type) &&
                 weights.device() == rows.experts.device(),
             "from_experts: weights are ", weights.toString(), " ", weights.sizes(), " on ",
             weights.device(), ", expected ", at::toString(wide_type(type)), " ",
             rows.experts.sizes(), " on ", rows.experts.device());
  return FromExperts::apply(weights.contiguous(), at::TensorList(outputs), rows, isa);
}

}  // namespace weft
