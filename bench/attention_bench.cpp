// Causal attention, forward and backward, against LibTorch's own kernel
// (scaled_dot_product_attention): with a mask [T, T] where documents are packed or a window is
// asked for, as it has no other way. Prints both times, their ratio, and the rate of the products
// that are needed: 2 forward and 5 backward of [seen, e] for every head, where `seen` is the number
// of pairs of a token and one that it sees. OMP_NUM_THREADS sets the threads.
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include "bench/versus.h"
#include "models/kernels/block_attention.h"

namespace weft {
namespace {

struct Case {
  int64_t rows, heads, length, width;
  int64_t kv_heads = 0;   // 0: as many as heads
  int64_t documents = 1;  // of a row, of equal lengths
  int64_t window = 0;

  int64_t document_length() const { return length / documents; }
  bool has_mask() const { return documents > 1 || window > 0; }
};

// [T, T]: which tokens each one sees.
Tensor mask_of(const Case& c) {
  const Tensor place = at::arange(c.length), document = place.floor_divide(c.document_length());
  const Tensor distance = place.unsqueeze(1) - place;
  const Tensor seen = distance.ge(0).logical_and(document.unsqueeze(1).eq(document));
  return c.window > 0 ? seen.logical_and(distance.lt(c.window)) : seen;
}

double pairs_seen(const Case& c) {
  if (c.has_mask()) return mask_of(c).sum().item<double>();
  return 0.5 * static_cast<double>(c.length * (c.length + 1));
}

std::string name_of(const Case& c, at::ScalarType type) {
  char sizes[64];
  std::snprintf(sizes, sizeof sizes, "%s %ld x %ld heads x %5ld x %3ld",
                type == at::kFloat ? "fp32" : "bf16", c.rows, c.heads, c.length, c.width);
  std::string name = sizes;
  if (c.kv_heads > 0) name += ", " + std::to_string(c.kv_heads) + " key/value heads";
  if (c.documents > 1) name += ", " + std::to_string(c.documents) + " documents a row";
  if (c.window > 0) name += ", window " + std::to_string(c.window);
  return name;
}

template <class Function>
void forward_backward(const std::vector<Tensor>& leaves, const Tensor& dy, const Function& f) {
  f(leaves[0], leaves[1], leaves[2]).backward(dy);
  for (const Tensor& leaf : leaves) leaf.mutable_grad() = Tensor{};
}

void compare(const Case& c, at::ScalarType type) {
  const auto normal = [&](int64_t heads) {
    return at::randn({c.rows, c.length, heads, c.width}).to(type);
  };
  const int64_t kv_heads = c.kv_heads > 0 ? c.kv_heads : c.heads;
  std::vector<Tensor> leaves;
  for (const int64_t heads : {c.heads, kv_heads, kv_heads}) {
    leaves.push_back(normal(heads).set_requires_grad(true));
  }
  const Tensor dy = normal(c.heads);
  std::vector<Segment> documents;
  for (int64_t i = 0; i < c.rows * c.documents; ++i) {
    const int64_t begin = i % c.documents * c.document_length();
    documents.push_back({i / c.documents, begin, begin + c.document_length()});
  }
  const auto ours = [=](const Tensor& q, const Tensor& k, const Tensor& v) {
    return block_attention(q, k, v, documents, c.window);
  };
  std::optional<Tensor> mask;
  if (c.has_mask()) mask = mask_of(c);
  const auto peer = [=](const Tensor& q, const Tensor& k, const Tensor& v) {
    return at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                                            mask, 0.0, /*is_causal=*/!mask, /*scale=*/{},
                                            /*enable_gqa=*/c.kv_heads > 0)
        .transpose(1, 2);
  };
  const auto our_turn = [=] { forward_backward(leaves, dy, ours); };
  const auto times = median_times(9, our_turn, [&] { forward_backward(leaves, dy, peer); });
  const double flops = 14.0 * static_cast<double>(c.rows * c.heads * c.width) * pairs_seen(c);
  const std::string name = name_of(c, type);
  std::printf("%s: weft %.2f ms (%.0f GFLOP/s), LibTorch %.2f ms, ratio %.2f\n", name.c_str(),
              times.ours, flops / times.ours / 1e6, times.peer, times.peer / times.ours);
  std::fflush(stdout);
  register_benchmark("attention/" + name, flops, our_turn);
}

void run() {
  std::printf("threads %d\n", at::get_num_threads());
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    compare({2, 8, 1024, 64}, type);
    compare({1, 8, 4096, 64}, type);
    compare({1, 12, 1024, 64}, type);
    compare({1, 4, 2048, 128}, type);
    compare({1, 8, 2048, 64, /*kv_heads=*/2}, type);
    compare({.rows = 1, .heads = 8, .length = 4096, .width = 64, .documents = 16}, type);
    compare({.rows = 1, .heads = 8, .length = 4096, .width = 64, .window = 512}, type);
  }
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  weft::keep_freed_pages();
  if (!weft::has_block_attention(at::randn({1, 1, 1, 2}).to(at::kBFloat16))) {
    std::fprintf(stderr, "attention_bench: this processor has no AVX-512 BF16\n");
    return 2;
  }
  weft::run();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
