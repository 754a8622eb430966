// Memory before launch (plan.h): plan_memory.
#include "recipes/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "absl/container/flat_hash_map.h"
#include <ATen/Parallel.h>

#include "models/attention.h"
#include "models/causal_lm.h"
#include "models/mamba2.h"
#include "recipes/environment.h"

namespace weft {
namespace {

// Bytes of one value in the compute type (x), in the masters' type (m) and in the residual stream,
// whether attention runs in blocks of our own there, on the CPU, and whether it may run in bf16
// kernels on a GPU.
struct Widths {
  double x, m, residual;
  bool block_attention, flash_attention;

  // Attention whose results selective recomputation keeps.
  bool has_kernel(const AttentionConfig& a) const {
    return block_attention || (flash_attention && has_gpu_attention(a.head_dim));
  }
};

// The program with LibTorch loaded, its threads and the allocator's slack, measured on the CPU.
constexpr double kProcessBytes = 250e6;
// Most gradients of a layer's values that exist at a time, of the bytes of these values: they go as
// others come.
constexpr double kGradientShare = 0.5;

// What autograd keeps of one token, term by term as in the modules' forward (models/*.cpp): the
// table of spec/parallel.md 17.3, and what a CPU run keeps besides: the product in the middle of an
// MLP, what its experts give.
double norm_bytes(double d, Widths w) { return (w.residual + w.x) * d + w.m; }

double mixer_bytes(const AttentionConfig& a, double, Widths w) {
  const double query = static_cast<double>(a.num_heads * a.head_dim);
  const double key = static_cast<double>(a.num_kv_heads * a.head_dim);
  const double projected = w.x * (query + 2 * key);
  const double rotated = a.rope.type == RopeType::kNone ? 0 : w.x * (query + key);
  const double log_sum_exp = w.m * static_cast<double>(a.num_heads);
  return projected + rotated + 2 * w.x * query + log_sum_exp;
}

double mixer_bytes(const MambaConfig& c, double, Widths w) {
  const double di = static_cast<double>(c.inner_size), n = static_cast<double>(c.state_size);
  const double small = static_cast<double>(c.dt_rank) + 2 * n;
  const double states = w.m * di * n / static_cast<double>(kTokensPerKeptState);
  return 5 * w.x * di + w.x * small + (c.inner_norms ? 2 * w.x * small + w.m : 0) + states;
}

// The projection, the convolution's output, what the chunked scan keeps, the gated norm's output,
// the four or five values in its middle (of y and z wider copies, where they are not wide), and a
// state a chunk.
double mixer_bytes(const Mamba2Config& c, double, Widths w) {
  const double di = static_cast<double>(c.inner_size()), heads = static_cast<double>(c.num_heads);
  const double conv = static_cast<double>(c.conv_channels());
  const double states =
      w.m * di * static_cast<double>(c.state_size) / static_cast<double>(c.chunk_size);
  const double middle = w.x == w.m ? 4 : 5;
  return w.x * (2 * di + 2 * conv + heads) + w.m * (3 * heads + middle * di) + states;
}

// What of this selective recomputation keeps: results of products and of attention.
double product_bytes(const AttentionConfig& a, double d, Widths w) {
  const double query = static_cast<double>(a.num_heads * a.head_dim);
  const double key = static_cast<double>(a.num_kv_heads * a.head_dim);
  const double attention = w.x * query + w.m * static_cast<double>(a.num_heads);
  return w.x * (query + 2 * key + d) + (w.has_kernel(a) ? attention : 0);
}
double product_bytes(const MambaConfig& c, double d, Widths w) {
  const double small = static_cast<double>(c.dt_rank + 2 * c.state_size);
  return w.x * (3 * static_cast<double>(c.inner_size) + small + d);
}
double product_bytes(const Mamba2Config& c, double d, Widths w) {
  return w.x * (static_cast<double>(c.inner_size() + c.conv_channels() + c.num_heads) + d);
}
double product_bytes(std::monostate, double d, Widths w, bool) { return -w.x * d; }  // the last one
double product_bytes(const MlpConfig& c, double, Widths w, bool in_slices) {
  return in_slices ? 0 : (c.gated ? 2 : 1) * w.x * static_cast<double>(c.intermediate_size);
}
double product_bytes(const MoeConfig& c, double d, Widths w, bool in_slices) {
  const double k = static_cast<double>(c.top_k), f = static_cast<double>(c.intermediate_size);
  return w.m * static_cast<double>(c.num_experts) + (in_slices ? 0 : w.x * k * (2 * f + d));
}

// In slices a part keeps its input alone, which the norm before it has given.
double feed_forward_bytes(std::monostate, double, Widths, bool) { return 0; }
double feed_forward_bytes(const MlpConfig& c, double, Widths w, bool in_slices) {
  const bool fused = c.activation == Activation::kSilu;  // with the product
  const int kept = c.gated ? (fused ? 3 : 4) : 2;
  return in_slices ? 0 : kept * w.x * static_cast<double>(c.intermediate_size);
}
double feed_forward_bytes(const MoeConfig& c, double d, Widths w, bool in_slices) {
  const double k = static_cast<double>(c.top_k), f = static_cast<double>(c.intermediate_size);
  return w.m * d + 4 * w.m * static_cast<double>(c.num_experts) +
         k * w.x * (2 * d + (in_slices ? 0 : 3 * f));
}

// Rows that a layer's feed-forward part gets in all and at once, and its inner width; zeros if
// there is none.
struct FeedForwardRows {
  int64_t all = 0, at_once = 0, width = 0;
  bool in_slices() const { return at_once < all; }
};

FeedForwardRows feed_forward_rows(const LayerConfig& layer, const MiniSequences& mini_sequences,
                                  int64_t tokens, int64_t d) {
  FeedForwardRows rows;
  if (const auto* c = std::get_if<MlpConfig>(&layer.feed_forward)) {
    rows = {.all = tokens, .width = c->intermediate_size};
  } else if (const auto* c = std::get_if<MoeConfig>(&layer.feed_forward)) {
    rows = {.all = tokens * c->top_k, .width = c->intermediate_size};
  } else {
    return rows;
  }
  rows.at_once = mlp_rows(mini_sequences, rows.all, d, rows.width);
  return rows;
}

// Elements that a layer keeps for any number of tokens: the padding of its experts' rows
// (models/moe.h), half of what it can be.
double fixed_elements(const LayerConfig& layer, double d, bool in_slices) {
  const auto* c = std::get_if<MoeConfig>(&layer.feed_forward);
  if (c == nullptr) return 0;
  const double row = d + (in_slices ? 0 : 3 * static_cast<double>(c->intermediate_size));
  return static_cast<double>(c->num_experts * kExpertRowMultiple / 2) * row;
}

double layer_bytes(const LayerConfig& layer, double d, Widths w, bool in_slices) {
  const double mixer =
      std::visit([&](const auto& part) { return mixer_bytes(part, d, w); }, layer.mixer);
  const double rest =
      std::visit([&](const auto& part) { return feed_forward_bytes(part, d, w, in_slices); },
                 layer.feed_forward);
  const int norms = std::holds_alternative<std::monostate>(layer.feed_forward) ? 1 : 2;
  return norms * norm_bytes(d, w) + mixer + rest;
}

double layer_product_bytes(const LayerConfig& layer, double d, Widths w, bool in_slices) {
  return std::visit([&](const auto& part) { return product_bytes(part, d, w); }, layer.mixer) +
         std::visit([&](const auto& part) { return product_bytes(part, d, w, in_slices); },
                    layer.feed_forward);
}

// A thread's memory in the backward pass of attention in blocks: keys and values of the longest
// document arranged for products, and sums of their gradients.
double attention_bytes(const LayerConfig& layer, double length, double threads, Widths w) {
  const auto* a = std::get_if<AttentionConfig>(&layer.mixer);
  if (a == nullptr || !w.block_attention) return 0;
  return threads * length * static_cast<double>(a->head_dim) * (3 * w.x + 8);
}

// What a pass of the chunked scan makes in the backward pass: five tensors of the largest size.
double ssd_bytes(const LayerConfig& layer, double tokens, bool cuda, Widths w) {
  const auto* c = std::get_if<Mamba2Config>(&layer.mixer);
  if (c == nullptr) return 0;
  const double chunk = std::min(tokens, static_cast<double>(c->chunk_size));
  const double width = static_cast<double>(c->head_dim),
               states = static_cast<double>(c->state_size);
  const double largest = std::max(chunk * chunk, width * std::max(chunk, states));
  const double all = tokens / chunk * static_cast<double>(c->num_heads) * largest * w.m;
  return 5 * std::min(all, static_cast<double>(cuda ? kScanPassBytesOnGpu : kScanPassBytes));
}

// While a feed-forward part's slice is computed again: gate, up and their product, and the
// gradients of all three (gelu's own is not counted).
double slice_bytes(const FeedForwardRows& rows, Widths w) {
  return rows.in_slices()
             ? 6 * w.x * static_cast<double>(rows.at_once) * static_cast<double>(rows.width)
             : 0;
}

// A slice of logits, which become their gradients (with a copy in the wide type on a GPU, not
// counted).
double head_bytes(const ModelConfig& config, const MiniSequences& mini_sequences, int64_t tokens,
                  Widths w) {
  const double rows = static_cast<double>(head_rows(mini_sequences, tokens, config.hidden_size,
                                                    config.vocab_size, static_cast<int64_t>(w.x)));
  const double vocabulary = static_cast<double>(config.vocab_size);
  // Where no product of the CPU's adds to it, a slice's part of the head's gradient.
  const double part = w.x != w.m && !w.block_attention
                          ? vocabulary * static_cast<double>(config.hidden_size) * w.x
                          : 0;
  return rows * vocabulary * w.x + part;
}

// Elements of the largest weight of a linear layer (of one expert on the CPU, of all on a GPU,
// which may multiply them together; layers with one input as one).
double largest_matrix(const ParameterTable& table, bool cuda) {
  double largest = 0;
  absl::flat_hash_map<std::string, double> joints;
  for (const ParameterSpec& spec : table.rows()) {
    if (spec.compute != ComputeType::kRecipe || spec.name == kHeadWeight) continue;
    double elements = static_cast<double>(spec.numel());
    if (spec.shape.size() == 3 && !cuda) elements /= static_cast<double>(spec.shape[0]);
    if (!spec.joint.empty()) elements = joints[spec.joint] += elements;
    largest = std::max(largest, elements);
  }
  return largest;
}

// Layers' inputs, and the program: LibTorch's allocator of pinned memory rounds up to a power of
// two, and keeps blocks of every size that a stage had.
double host_bytes(const Recipe& recipe, const ModelConfig& config, Widths w) {
  double layers = 0;
  for (size_t i = 0; i < config.layers.size(); ++i) layers += recipe.memory.recomputes(i) ? 1 : 0;
  std::set<double> blocks;
  for (const StageConfig& stage : recipe.stages) {
    const double input = static_cast<double>(*stage.micro_batch_tokens) *
                         static_cast<double>(config.hidden_size) * w.residual;
    blocks.insert(std::exp2(std::ceil(std::log2(input))));
  }
  return kProcessBytes + layers * std::accumulate(blocks.begin(), blocks.end(), 0.0);
}

// At most what total() can add up.
int64_t to_bytes(double bytes) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 8;
  return bytes < static_cast<double>(kMost) ? static_cast<int64_t>(bytes) : kMost;
}

}  // namespace

MemoryPlan plan_memory(const Recipe& recipe, int compute_bytes) {
  const ModelConfig config = build_config(recipe.model);
  const double wide = std::max(4.0, static_cast<double>(compute_bytes));
  const Widths w{.x = static_cast<double>(compute_bytes),
                 .m = wide,
                 .residual = config.residual_fp32 ? wide : static_cast<double>(compute_bytes),
                 .block_attention =
                     !runs_on_cuda(recipe) && has_cpu_attention(compute_bytes == 2   ? at::kBFloat16
                                                                : compute_bytes == 4 ? at::kFloat
                                                                                     : at::kDouble),
                 .flash_attention = runs_on_cuda(recipe) && compute_bytes == 2};
  double masters = 0, copies = 0;  // elements
  const ParameterTable table = parameter_table(config);
  for (const ParameterSpec& spec : table.rows()) {
    const double elements = static_cast<double>(spec.numel());
    masters += elements;
    if (w.x == w.m || spec.compute == ComputeType::kMaster) continue;
    copies += elements;
  }
  // Where no product of the CPU's adds to it, a weight's gradient exists by itself first.
  const double apart =
      w.x != w.m && !w.block_attention ? w.x * largest_matrix(table, runs_on_cuda(recipe)) : 0;
  int64_t tokens = 0, length = 0;
  for (const StageConfig& stage : recipe.stages) {
    tokens = std::max(tokens, *stage.micro_batch_tokens);
    length = std::max(length, stage.sequence_length);
  }
  const MiniSequences& mini_sequences = recipe.memory.mini_sequences;
  const double threads = static_cast<double>(recipe.threads.value_or(at::get_num_threads()));
  const double n = static_cast<double>(tokens), d = static_cast<double>(config.hidden_size);
  const auto longest = static_cast<double>(length);
  const bool offload = recipe.memory.offload && runs_on_cuda(recipe);
  double kept = n * norm_bytes(d, w), largest = 0;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const LayerConfig& layer = config.layers[i];
    const FeedForwardRows rows =
        feed_forward_rows(layer, mini_sequences, tokens, config.hidden_size);
    const double bytes = n * layer_bytes(layer, d, w, rows.in_slices());
    const double fixed = w.x * fixed_elements(layer, d, rows.in_slices());
    // A slice's own are gone before the mixer's gradients come.
    const double gradients = std::max(
        slice_bytes(rows, w), kGradientShare * bytes + attention_bytes(layer, longest, threads, w) +
                                  ssd_bytes(layer, n, runs_on_cuda(recipe), w));
    if (recipe.memory.recomputes(i)) {  // all of it comes back
      const double products = recipe.memory.recompute == Recompute::kSelective
                                  ? n * layer_product_bytes(layer, d, w, rows.in_slices())
                                  : 0;
      const double input = n * d * w.residual;
      kept += products + (offload ? 0 : input);
      const double on_their_way = offload ? 2 * input : 0;  // out, or back
      largest = std::max(largest, bytes + fixed + gradients + on_their_way - products);
    } else {
      kept += bytes + fixed;
      largest = std::max(largest, gradients);
    }
  }
  return {.parameters = to_bytes(w.m * masters + w.x * copies),
          .gradients = to_bytes(w.m * masters),
          .optimizer = to_bytes(2 * w.m * masters),
          .activations = to_bytes(kept),
          // The head's values are gone before a layer's come, but for the gradient of what it read.
          .working = to_bytes(n * d * w.x +
                              std::max(head_bytes(config, mini_sequences, tokens, w), largest) +
                              apart + kProcessBytes),
          .host = to_bytes(offload ? host_bytes(recipe, config, w) : 0)};
}

}  // namespace weft
