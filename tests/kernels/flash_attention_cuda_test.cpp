#include <algorithm>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "models/kernels/flash_attention.h"
#include "tests/kernels/attention_case.h"
#include "tests/kernels/cuda_device.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

PackedDocuments packed(const AttentionCase& c) {
  PackedDocuments documents;
  std::vector<int64_t> ends = {0};
  for (const Segment& s : segments_of(c)) {
    ends.push_back(ends.back() + s.end - s.begin);
    documents.longest = std::max(documents.longest, s.end - s.begin);
  }
  documents.boundaries = at::tensor(ends, at::kLong).to(at::kCUDA, at::kInt);
  return documents;
}

// y and the gradients of q, k and v, on the CPU.
template <class F>
std::vector<Tensor> with_gradients(const AttentionInputs& in, const F& attention) {
  const auto leaf = [](const Tensor& t) { return t.detach().clone().set_requires_grad(true); };
  const Tensor q = leaf(in.q), k = leaf(in.k), v = leaf(in.v);
  const Tensor y = attention(q, k, v);
  y.backward(in.dy);
  return {y.detach().cpu(), q.grad().cpu(), k.grad().cpu(), v.grad().cpu()};
}

// bf16 rounds weights and results by 2^-9 of themselves, and gradients are sums of such numbers.
TEST(FlashAttentionCuda, IsAttentionByItsDefinition) {
  WEFT_NEEDS_CUDA_DEVICE();
  for (const AttentionCase& c : {AttentionCase{2, 2, 64, 0, {{100}, {100}}},
                                 AttentionCase{4, 2, 64, 0, {{70, 1, 29}, {100}}},
                                 AttentionCase{4, 1, 128, 16, {{40, 60}, {13, 87}}}}) {
    const AttentionInputs in = inputs_of(c, at::kBFloat16);
    const auto to = [&](at::Device device, at::ScalarType type) {
      return AttentionInputs{in.q.to(device, type), in.k.to(device, type), in.v.to(device, type),
                             in.dy.to(device, type)};
    };
    const auto truth = with_gradients(to(at::kCPU, at::kDouble),
                                      [&](const Tensor& q, const Tensor& k, const Tensor& v) {
                                        return plain_attention(q, k, v, c);
                                      });
    const PackedDocuments documents = packed(c);
    const auto there = with_gradients(to(at::kCUDA, at::kBFloat16),
                                      [&](const Tensor& q, const Tensor& k, const Tensor& v) {
                                        return flash_attention(q, k, v, documents, c.window);
                                      });
    for (size_t i = 0; i < there.size(); ++i) {
      EXPECT_LE(max_difference(there[i], truth[i]), 0x1p-6 * max_magnitude(truth[i])) << i;
    }
  }
}

}  // namespace
}  // namespace weft
