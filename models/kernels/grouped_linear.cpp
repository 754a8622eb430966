#include "models/kernels/grouped_linear.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#ifdef WEFT_CUDA
#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/ops/_grouped_mm.h>
#endif

#include "base/check.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/matmul.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

#ifdef WEFT_CUDA
// Groups from the first to the last that has rows: of a slice of all rows these are few.
struct UsedGroups {
  int64_t first = 0, count = 0;

  explicit UsedGroups(const std::vector<int64_t>& sizes) {
    const auto has_rows = [](int64_t size) { return size > 0; };
    const auto begin = std::find_if(sizes.begin(), sizes.end(), has_rows);
    const auto end = std::find_if(sizes.rbegin(), sizes.rend(), has_rows).base();
    if (begin == sizes.end()) return;
    first = begin - sizes.begin();
    count = end - begin;
  }
  Tensor of(const Tensor& all) const { return all.narrow(0, first, count); }
};

// Whether LibTorch multiplies all groups at once: where it has no kernel its operator waits for the
// device and takes one group after the other, as the loops below do without waiting. The dimensions
// of rows and matrices are those of `weight`.
bool is_one_product(const Tensor& rows, const Tensor& other, const Tensor& weight,
                    const UsedGroups& used) {
  constexpr int64_t kBytes = 16;  // what rows begin at multiples of
  constexpr int64_t kMostGroups = 1023;
  if (!rows.is_cuda() || rows.scalar_type() != at::kBFloat16 || used.count > kMostGroups ||
      rows.numel() == 0 || weight.numel() == 0) {
    return false;
  }
  const int capability = at::cuda::getDeviceProperties(rows.device().index())->major;
  const auto is_aligned = [&](const Tensor& t) {
    return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % kBytes == 0;
  };
  const auto fits = [&](int64_t width) { return width * rows.element_size() % kBytes == 0; };
  return (capability == 9 || capability == 10) && is_aligned(rows) && is_aligned(other) &&
         fits(weight.size(1)) && fits(weight.size(2));
}

Tensor one_product(const Tensor& a, const Tensor& b, const Tensor& ends, double products) {
  const ProfileSpan span("weft::grouped_matmul", WorkKind::kProduct, {.flops = 2 * products});
  return at::_grouped_mm(a, b, ends);
}

double products_of(const Tensor& rows, const Tensor& weight) {
  return static_cast<double>(rows.size(0)) * static_cast<double>(weight.size(1) * weight.size(2));
}
#endif

// f(group, first row, rows) for all groups that have rows.
template <class F>
void for_each_group(const std::vector<int64_t>& sizes, const F& f) {
  int64_t first = 0;
  for (size_t e = 0; e < sizes.size(); ++e) {
    if (sizes[e] > 0) f(static_cast<int64_t>(e), first, sizes[e]);
    first += sizes[e];
  }
}

// x [R, in] times matrices [E, in, out] -> [R, out].
Tensor multiply_groups(const Tensor& x, const RowGroups& groups, const Tensor& matrices) {
#ifdef WEFT_CUDA
  const UsedGroups used(groups.sizes);
  if (is_one_product(x, matrices, matrices, used)) {
    return one_product(x, used.of(matrices), used.of(groups.ends), products_of(x, matrices));
  }
#endif
  const Tensor y = at::empty({x.size(0), matrices.size(2)}, x.options());
  for_each_group(groups.sizes, [&](int64_t e, int64_t first, int64_t rows) {
    Tensor part = y.narrow(0, first, rows);
    multiply_into(part, x.narrow(0, first, rows), matrices[e]);
  });
  return y;
}

// sum[e] += dy of a group, transposed, times its x.
void add_products(const Tensor& sum, const Tensor& dy, const Tensor& x, const RowGroups& groups) {
#ifdef WEFT_CUDA
  const UsedGroups used(groups.sizes);
  if (is_one_product(x, dy, sum, used)) {
    used.of(sum).add_(one_product(dy.t(), x, used.of(groups.ends), products_of(x, sum)));
    return;
  }
#endif
  for_each_group(groups.sizes, [&](int64_t e, int64_t first, int64_t rows) {
    Tensor part = sum[e];
    multiply_into(part, dy.narrow(0, first, rows).t(), x.narrow(0, first, rows), Into::kSum);
  });
}

// Besides x and the weights: the result where it need not be computed, and where gradients go.
struct GroupedExtras {
  RowGroups groups;
  Tensor known, sum;
};

class GroupedLinear final : public torch::autograd::Function<GroupedLinear> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const GroupedExtras& extras) {
    ctx->save_for_backward({x, weight, extras.groups.ends});
    ctx->saved_data["sizes"] = extras.groups.sizes;
    if (extras.sum.defined()) ctx->saved_data["sum"] = extras.sum;
    return extras.known.defined() ? extras.known
                                  : multiply_groups(x, extras.groups, weight.transpose(1, 2));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "grouped_linear is differentiated at most once");
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    const RowGroups groups{ctx->saved_data["sizes"].toIntVector(), saved[2]};
    const Tensor dy = grads[0].contiguous();
    Tensor dx, dweight;
    if (ctx->needs_input_grad(0)) dx = multiply_groups(dy, groups, weight);
    if (ctx->needs_input_grad(1)) {
      const bool has_sum = ctx->saved_data.count("sum") > 0;
      if (!has_sum) dweight = at::zeros(weight.sizes(), weight.options());
      add_products(has_sum ? ctx->saved_data["sum"].toTensor() : dweight, dy, x, groups);
    }
    return {dx, dweight, {}};
  }
};

}  // namespace

RowGroups RowGroups::part(int64_t first, int64_t count) const {
  if (first == 0 && count == std::accumulate(sizes.begin(), sizes.end(), int64_t{0})) return *this;
  RowGroups result;
  int64_t begin = 0;
  for (const int64_t size : sizes) {
    const int64_t from = std::max(begin, first), to = std::min(begin + size, first + count);
    result.sizes.push_back(std::max<int64_t>(0, to - from));
    begin += size;
  }
  result.ends = ends.sub(first).clamp_(0, count);
  return result;
}

RowGroups row_groups(std::vector<int64_t> sizes, at::Device device) {
  std::vector<int64_t> ends;
  for (const int64_t size : sizes) ends.push_back(size + (ends.empty() ? 0 : ends.back()));
  // Without waiting for the device, which has the experts' products to do meanwhile.
  const Tensor there = at::tensor(ends, at::kInt).to(device, /*non_blocking=*/true);
  return {std::move(sizes), there};
}

Tensor grouped_linear(const Tensor& x, const RowGroups& groups, const Tensor& weight,
                      const Tensor& sum, Values values) {
  const int64_t rows = std::accumulate(groups.sizes.begin(), groups.sizes.end(), int64_t{0});
  WEFT_CHECK(x.dim() == 2 && weight.dim() == 3 && x.size(0) == rows &&
                 x.size(1) == weight.size(2) && x.scalar_type() == weight.scalar_type() &&
                 weight.size(0) == static_cast<int64_t>(groups.sizes.size()),
             "grouped_linear of x ", x.toString(), " ", x.sizes(), " and weight ",
             weight.toString(), " ", weight.sizes(), " for ", groups.sizes.size(), " groups of ",
             rows, " rows");
  WEFT_CHECK(!sum.defined() || (sum.sizes() == weight.sizes() &&
                                sum.scalar_type() == wide_type(weight.scalar_type())),
             "grouped_linear of a weight ", weight.toString(), " ", weight.sizes(),
             " with a sum of another shape or type");
  const bool empty = x.numel() == 0 || weight.size(1) == 0;
  const Tensor known = empty ? Tensor() : known_result({rows, weight.size(1)}, x.options(), values);
  const Tensor y = GroupedLinear::apply(x.contiguous(), weight, GroupedExtras{groups, known, sum});
  if (!empty && !known.defined()) keep_result(y);
  return y;
}

}  // namespace weft
