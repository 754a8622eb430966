// What a token adds to the memory of a step: attention keeps nothing of the square of a length, and
// slices no row of logits or of a feed-forward part's middle.
#include <ostream>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include "models/attention.h"
#include "models/memory_config.h"
#include "tests/support/fill.h"
#include "tests/support/peak.h"
#include "tests/support/tiny_model.h"

namespace weft {
namespace {

struct AttentionSize {
  at::ScalarType type;
  int64_t kv_heads, window;
};

void PrintTo(const AttentionSize& s, std::ostream* out) {
  *out << s.type << ", " << s.kv_heads << " key/value heads, window " << s.window;
}

class AttentionMemory : public testing::TestWithParam<AttentionSize> {};

// Forward and backward of one document of `length`; 4 heads of 16.
int64_t attention_peak(const AttentionSize& s, int64_t length) {
  const auto leaf = [&](int64_t heads, double phase) {
    return fill({1, length, heads, 16}, phase).to(s.type).detach().set_requires_grad(true);
  };
  const Tensor q = leaf(4, 1), k = leaf(s.kv_heads, 2), v = leaf(s.kv_heads, 3);
  const Tensor dy = leaf(4, 4).detach();
  const Documents documents = Documents::whole_rows(1, length, at::kCPU);
  return peak_bytes([&] { causal_attention(q, k, v, documents, s.window).backward(dy); });
}

TEST_P(AttentionMemory, GrowsWithTheLengthAndNotItsSquare) {
  attention_peak(GetParam(), 64);  // what is made once
  const int64_t short_peak = attention_peak(GetParam(), 1024);
  const int64_t peak = attention_peak(GetParam(), 2048);
  const int64_t long_peak = attention_peak(GetParam(), 4096);
  EXPECT_LT(long_peak, int64_t{4096} * 4096);  // one byte for each score of one head
  EXPECT_LE(long_peak - peak, 2.1 * static_cast<double>(peak - short_peak));
}

INSTANTIATE_TEST_SUITE_P(
    All, AttentionMemory,
    testing::Values(AttentionSize{at::kFloat, 4, 0}, AttentionSize{at::kBFloat16, 4, 0},
                    AttentionSize{at::kFloat, 1, 0}, AttentionSize{at::kBFloat16, 1, 0},
                    AttentionSize{at::kFloat, 2, 100}, AttentionSize{at::kBFloat16, 2, 100}));

constexpr int64_t kVocabulary = 4001, kIntermediate = 1024;

// Bytes that each of 1,024 further tokens adds to a step of two layers, of hidden size 32, in fp32.
double bytes_a_token(Family family, const MemoryConfig& memory) {
  ModelRecipe recipe = tiny_recipe(family, 2);
  recipe.vocab_size = kVocabulary;
  recipe.intermediate_size = kIntermediate;
  TinyModel tiny(recipe, cpu_types(at::kFloat));
  const CausalLM model(tiny->config(), tiny.store(), memory);
  const auto peak = [&](int64_t length) {
    const Tensor tokens = at::arange(length, at::kLong).remainder(kVocabulary).unsqueeze(0);
    const Documents documents = Documents::whole_rows(1, length, at::kCPU);
    return peak_bytes([&] { model.loss(tokens, tokens, documents).loss.backward(); });
  };
  peak(64);
  return static_cast<double>(peak(2048) - peak(1024)) / 1024;
}

class SlicesMemory : public testing::TestWithParam<Family> {};

TEST_P(SlicesMemory, HoldsNoRowOfLogitsOrOfTheMiddlePerToken) {
  constexpr double kLogits = 4.0 * kVocabulary, kMiddle = 4.0 * kIntermediate;
  const MiniSequences slices(MiniSequenceRows{128, 64});
  const double whole = bytes_a_token(GetParam(), {MiniSequenceRule::kNone, Recompute::kBlock});
  const double sliced = bytes_a_token(GetParam(), {slices, Recompute::kBlock});
  EXPECT_GT(whole, kLogits);
  EXPECT_LT(sliced, kMiddle);
}

INSTANTIATE_TEST_SUITE_P(All, SlicesMemory,
                         testing::Values(Family::kLlama, Family::kGpt2, Family::kMixtral,
                                         Family::kJamba),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace weft
