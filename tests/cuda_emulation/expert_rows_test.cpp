#include "models/kernels/expert_rows.h"

#include <ATen/ops/cat.h>

#include "models/kernels/cuda/expert_rows.h"
#include "models/kernels/dispatch.h"
#include "tests/cuda_emulation/results.h"
#include "tests/kernels/expert_rows_case.h"

namespace weft {
namespace {

constexpr ExpertCase kCases[] = {{1, 1, 1, 1},   {1, 2, 4, 7},     {9, 1, 4, 16},
                                 {13, 4, 4, 59}, {40, 2, 5, 97},   {65, 3, 16, 64},
                                 {30, 2, 8, 40}, {5, 5, 12, 1025}, {3, 2, 4, 1032}};

// Where tensors begin: at a multiple of 16 bytes, or a number behind one.
enum class Place { kAligned, kShifted };

Tensor placed(const Tensor& t, Place place) {
  const int64_t offset = place == Place::kAligned ? 0 : 1;
  const Tensor memory = blank({t.numel() + offset}, t.scalar_type());
  return memory.narrow(0, offset, t.numel()).view(t.sizes()).copy_(t);
}

// Rows that each begin at a multiple of 16 bytes.
bool is_aligned(const Tensor& t, Place place) {
  return place == Place::kAligned && t.size(1) * t.element_size() % 16 == 0;
}

struct Inputs {
  ExpertRows rows;
  Tensor tokens, weights, outputs;
  Place place;
};

Inputs inputs_of(const ExpertCase& c, at::ScalarType type, Place place) {
  const ExpertRows rows = expert_rows(chosen_experts(c), c.experts, kTestMultiple);
  return {rows, placed(random_numbers({c.tokens, c.width}, 1).to(type), place),
          random_numbers({c.tokens, c.top_k}, 2).to(wide_type(type)),
          placed(random_rows(rows, c.width, 3).to(type), place), place};
}

// Tokens to rows, with weights or without, and the products of tokens with the rows of the outputs;
// then the sum of these rows, with weights and without.
template <class S>
std::vector<Tensor> emulated_as(const Inputs& in) {
  using C = Compute<S>;
  const ExpertRows& at = in.rows;
  const int64_t width = in.tokens.size(1), top_k = at.row.size(1);
  const at::ScalarType type = in.tokens.scalar_type();
  const auto* const outputs = values<const S>(in.outputs);
  std::vector<Tensor> results;
  for (const bool weighted : {false, true}) {
    const C* const weights = weighted ? values<const C>(in.weights) : nullptr;
    const Tensor rows = placed(blank({at.assignment.size(0), width}, type), in.place);
    const Tensor dots = blank(in.weights.sizes(), in.weights.scalar_type());
    const Tensor sums = placed(blank({in.tokens.size(0), width}, type), in.place);
    const bool aligned = is_aligned(in.tokens, in.place);
    cuda::spread_rows(SpreadRows<S>{.rows = rows.size(0),
                                    .top_k = top_k,
                                    .width = width,
                                    .assignment = values<const int64_t>(at.assignment),
                                    .tokens = values<const S>(in.tokens),
                                    .weights = weights,
                                    .out = values<S>(rows),
                                    .in = weighted ? outputs : nullptr,
                                    .dots = weighted ? values<C>(dots) : nullptr,
                                    .aligned = aligned},
                      nullptr);
    cuda::combine_rows(
        CombineRows<S>{in.tokens.size(0), top_k, width, outputs, values<const int64_t>(at.row),
                       weights, values<S>(sums), aligned},
        nullptr);
    results.insert(results.end(), {rows, sums});
    if (weighted) results.push_back(dots);
  }
  return results;
}

// The same by the CPU's operators and their gradients, in `type`.
std::vector<Tensor> on_cpu(const Inputs& in, at::ScalarType type) {
  const Tensor tokens = in.tokens.to(type), weights = in.weights.to(wide_type(type));
  const Tensor outputs = in.outputs.to(type);
  const auto to =
      through_to_experts(tokens, outputs, [&](const Tensor& t) { return to_experts(t, in.rows); });
  const auto from = through_from_experts(
      outputs, weights, tokens,
      [&](const Tensor& y, const Tensor& w) { return from_experts(y, w, in.rows); });
  return {to[0], to[1], from[2], from[0], from[1]};
}

TEST(ExpertRowsEmulated, AreAsExactAsTheirCpuTwins) {
  for (const ExpertCase& c : kCases) {
    for (const at::ScalarType type : kStorageTypes) {
      for (const Place place : {Place::kAligned, Place::kShifted}) {
        SCOPED_TRACE(testing::Message() << c.tokens << "x" << c.top_k << "x" << c.experts << "x"
                                        << c.width << " " << type);
        const Inputs in = inputs_of(c, type, place);
        const auto ours = in_both_orders([&] {
          std::vector<Tensor> results;
          with_storage(in.tokens,
                       [&](auto storage) { results = emulated_as<decltype(storage)>(in); });
          return results;
        });
        expect_all_as_exact(ours, on_cpu(in, type), on_cpu(in, at::kDouble));
        EXPECT_TRUE(ours[0].equal(to_experts(in.tokens, in.rows)));
      }
    }
  }
}

}  // namespace
}  // namespace weft
