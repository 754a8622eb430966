#include "recipes/plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "models/attention.h"
#include "models/causal_lm.h"
#include "recipes/available_memory.h"
#include "recipes/load.h"
#include "tests/recipes/broken_recipes.h"

namespace weft {
namespace {

Recipe with_sets(const std::string& path, const std::vector<std::string>& sets) {
  auto loaded = load_recipe(path, sets, Purpose::kValidate);
  WEFT_CHECK(loaded.ok(), loaded.status());
  return loaded->recipe;
}

Recipe good() {
  auto recipe = parse_recipe(kGoodRecipe, "good");
  WEFT_CHECK(recipe.ok(), recipe.status());
  return *std::move(recipe);
}

TEST(PlanMemory, StatesFollowFromTheParameterTable) {
  const Recipe recipe = good();
  const ParameterTable table = parameter_table(build_config(recipe.model));
  const int64_t n = table.numel();
  int64_t copied = 0;
  for (const ParameterSpec& spec : table.rows()) {
    if (spec.compute == ComputeType::kRecipe) copied += spec.numel();
  }
  const MemoryPlan fp32 = plan_memory(recipe, 4), bf16 = plan_memory(recipe, 2),
                   fp64 = plan_memory(recipe, 8);
  EXPECT_EQ(fp32.parameters, 4 * n);
  EXPECT_EQ(fp32.gradients, 4 * n);
  EXPECT_EQ(fp32.optimizer, 8 * n);
  EXPECT_EQ(bf16.parameters, 4 * n + 2 * copied);
  EXPECT_EQ(bf16.gradients, 4 * n);
  EXPECT_EQ(bf16.optimizer, 8 * n);
  EXPECT_EQ(fp64.parameters, 8 * n);
  EXPECT_EQ(fp64.optimizer, 16 * n);
}

// A tied embedding has its master and a copy to multiply with.
TEST(PlanMemory, ParametersAreThoseOfTheStore) {
  for (const bool tied : {false, true}) {
    Recipe recipe = good();
    recipe.model.tie_embeddings = tied;
    const ParameterTable table = parameter_table(build_config(recipe.model));
    for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
      const MemoryPlan plan = plan_memory(recipe, static_cast<int>(c10::elementSize(compute)));
      EXPECT_EQ(plan.parameters + plan.gradients,
                store_bytes(table, {at::kFloat, compute, at::kCPU}, Gradients::kKept));
    }
  }
}

// A GPU multiplies the gradients of all experts' weights at once, in bf16 beside the step's sums.
TEST(PlanMemory, CountsTheWeightsOfAllExpertsOnAGpu) {
  const auto working = [](int64_t experts) {
    Recipe recipe = good();
    recipe.device = DeviceKind::kCuda;
    recipe.model.moe.num_experts = experts;
    recipe.model.moe.top_k = 2;
    return plan_memory(recipe, 2).working;
  };
  const int64_t matrix = 64 * *good().model.intermediate_size * 2;
  EXPECT_GE(working(64) - working(32), 32 * matrix);
}

TEST(PlanMemory, ActivationsGrowWithTheMicroBatch) {
  Recipe recipe = good();
  recipe.stages[0].micro_batch_tokens = Auto<int64_t>(64);
  const int64_t one = plan_memory(recipe, 4).activations;
  recipe.stages[0].micro_batch_tokens = Auto<int64_t>(128);
  const int64_t two = plan_memory(recipe, 4).activations;
  recipe.stages[0].micro_batch_tokens = Auto<int64_t>(192);
  EXPECT_GT(two, one);
  EXPECT_EQ(plan_memory(recipe, 4).activations - two, two - one);
}

// One llama layer in fp32, one token: two norms and the final one of 2 d + 1 each; q, k, v of 3 d,
// rotated q and k of 2 d, two outputs of d, H sums; three values of width f.
TEST(PlanMemory, ActivationsOfOneLayerByHand) {
  const auto recipe = parse_recipe(
      "name: one\nmodel: {family: llama, hidden_size: 64, num_layers: 1, num_heads: 2, "
      "intermediate_size: 128}\nstages:\n- {steps: 1, sequence_length: 1, batch_tokens: 1, "
      "data: {sources: [{path: x}]}}\n",
      "one");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  const int64_t d = 64, f = 128, heads = 2;
  const int64_t token = 3 * 4 * (2 * d + 1) + 4 * (3 * d + 2 * d + 2 * d + heads) + 4 * 3 * f;
  EXPECT_EQ(plan_memory(*recipe, 4).activations, token);
}

// The same with 40 tokens, of which 30 at a time: of the feed-forward part nothing is kept but what
// the norm gives; of the logits only some tokens' exist. Most memory is taken by logits, by a slice
// or by a layer's gradients: they follow each other.
TEST(PlanMemory, MiniSequencesByHand) {
  const auto plan = [](int64_t f, int64_t v, const char* mini_sequences, int compute_bytes) {
    const auto recipe = parse_recipe(
        absl::StrCat("name: one\nmodel: {family: llama, hidden_size: 64, num_layers: 1, "
                     "num_heads: 2, intermediate_size: ",
                     f, ", vocab_size: ", v,
                     "}\nthreads: 3\nmemory: {mini_sequences: ", mini_sequences,
                     "}\nstages:\n- {steps: 1, sequence_length: 40, batch_tokens: 40, "
                     "data: {sources: [{path: x}]}}\n"),
        "one");
    WEFT_CHECK(recipe.ok(), recipe.status());
    return plan_memory(*recipe, compute_bytes);
  };
  const int64_t n = 40, d = 64, f = 128, v = 10000, program = 250'000'000;
  const int64_t gradient = 4 * n * d;  // of what the head reads
  const MemoryPlan whole = plan(f, v, "none", 4),
                   sliced = plan(f, v, "{mlp_rows: 30, head_rows: 2}", 4);
  EXPECT_EQ(plan(f, v, "auto", 4).total(), whole.total());  // 40 tokens are few
  EXPECT_EQ(whole.activations - sliced.activations, 4 * n * 3 * f);
  EXPECT_EQ(whole.working, program + gradient + 4 * n * v);
  // Three threads' keys, values and gradients of a head, where attention runs in blocks.
  const int64_t attention = has_cpu_attention(at::kFloat) ? 3 * n * (d / 2) * (3 * 4 + 8) : 0;
  const int64_t layer = sliced.activations - n * 4 * (2 * d + 1);
  EXPECT_EQ(sliced.working, program + gradient + std::max(layer / 2 + attention, 4 * 2 * v));
  // Six values of the slice's.
  EXPECT_EQ(plan(1024, v, "{mlp_rows: 30, head_rows: 2}", 4).working,
            program + gradient + 4 * 6 * 30 * 1024);
  // bf16: logits of two bytes.
  const MemoryPlan small = plan(f, v, "{mlp_rows: 40, head_rows: 30}", 2);
  const MemoryPlan large = plan(f, v, "{mlp_rows: 40, head_rows: 31}", 2);
  EXPECT_EQ(large.working - small.working, 2 * v);
  EXPECT_EQ(large.activations, small.activations);
}

// Two llama layers of 40 tokens.
MemoryPlan plan_of_two(const char* memory, int compute_bytes, const char* residual_fp32 = "false",
                       const char* device = "cpu") {
  const auto recipe =
      parse_recipe(absl::StrCat("name: two\ndevice: ", device,
                                "\nmodel: {family: llama, hidden_size: 64, num_layers: 2, "
                                "num_heads: 2, intermediate_size: 128, residual_fp32: ",
                                residual_fp32, "}\nmemory: ", memory,
                                "\nstages:\n- {steps: 1, sequence_length: 40, batch_tokens: 40, "
                                "data: {sources: [{path: x}]}}\n"),
                   "two");
  WEFT_CHECK(recipe.ok(), recipe.status());
  return plan_memory(*recipe, compute_bytes);
}

// Of a layer that is computed again its input is kept, and all of it comes back beside its
// gradients.
TEST(PlanMemory, RecomputedBlocksByHand) {
  const int64_t n = 40, d = 64, final_norm = n * 4 * (2 * d + 1);
  const MemoryPlan whole = plan_of_two("{recompute: none}", 4),
                   block = plan_of_two("{recompute: block}", 4);
  const int64_t layer = (whole.activations - final_norm) / 2;
  EXPECT_EQ(block.activations, final_norm + 2 * n * 4 * d);
  EXPECT_EQ(block.working - whole.working, layer);
  const MemoryPlan half = plan_of_two("{recompute: block, recompute_every: 2}", 4);
  EXPECT_EQ(half.activations, layer + final_norm + n * 4 * d);
  EXPECT_EQ(half.working, block.working);
  // Inputs in the host's memory, but two on their way.
  EXPECT_EQ(block.host, 0);
  // And that of the final norm.
  EXPECT_EQ(plan_of_two("{recompute: block}", 2, "true").activations -
                plan_of_two("{recompute: block}", 2, "false").activations,
            3 * n * 2 * d);
}

// Inputs in the host's memory, each in a block of a power of two, but two on their way.
TEST(PlanMemory, OffloadedBlocksByHand) {
  const int64_t n = 40, d = 64, input = n * 4 * d;
  const auto plan = [](const char* memory) { return plan_of_two(memory, 4, "false", "cuda"); };
  const MemoryPlan block = plan("{recompute: block}"),
                   offloaded = plan("{recompute: block, offload: true}");
  EXPECT_EQ(offloaded.activations, block.activations - 2 * input);
  EXPECT_EQ(offloaded.working, block.working + 2 * input);
  EXPECT_EQ(input, 10240);
  const int64_t program = 250'000'000;
  EXPECT_EQ(offloaded.host, program + 2 * 16384);
  EXPECT_EQ(block.host, 0);
  EXPECT_EQ(plan("{recompute: block, recompute_every: 2, offload: true}").host, program + 16384);
}

// Selective: of the first layer its input, q, k, v, the attention's output, sums of H heads and the
// result of o, and gate and up are kept; a token's result of down is not.
TEST(PlanMemory, SelectiveByHand) {
  const int64_t n = 40, d = 64, f = 128, heads = 2;
  const int64_t attention = has_cpu_attention(at::kFloat) ? d + heads : 0;
  const int64_t kept = 2 * n * 4 * (3 * d + attention + d + 2 * f);
  const MemoryPlan selective = plan_of_two("{recompute: selective}", 4),
                   block = plan_of_two("{recompute: block}", 4);
  EXPECT_EQ(selective.activations - block.activations, kept);
  EXPECT_EQ(block.working - selective.working, kept / 2);
}

// One layer of jamba with experts, fp32, one token, beside the same layer with an MLP: instead of 3
// f values, the router's input d, 4 values an expert, the inputs
// and results of k experts and their 3 f values each, and half of 64 rows of d + 3 f an expert.
TEST(PlanMemory, ExpertsOfOneLayerByHand) {
  const auto activations = [](const char* moe) {
    const auto recipe = parse_recipe(
        absl::StrCat("name: one\nmodel: {family: jamba, hidden_size: 64, num_layers: 1, "
                     "intermediate_size: 128, layout: {moe_period: 1, moe_offset: 0}, moe: ",
                     moe,
                     "}\nstages:\n- {steps: 1, sequence_length: 1, batch_tokens: 1, "
                     "data: {sources: [{path: x}]}}\n"),
        "one");
    WEFT_CHECK(recipe.ok(), recipe.status());
    return plan_memory(*recipe, 4).activations;
  };
  const int64_t d = 64, f = 128, experts = 6, k = 2;
  const int64_t mlp = 4 * 3 * f;
  const int64_t moe = 4 * (d + 4 * experts + k * (2 * d + 3 * f)) + 4 * experts * 32 * (d + 3 * f);
  EXPECT_EQ(activations("{num_experts: 6, top_k: 2}") - activations("{num_experts: 1, top_k: 1}"),
            moe - mlp);
}

// Sixteen more states of a Mamba layer: B and C of a token, and one state for many tokens.
TEST(PlanMemory, StatesOfAMambaLayerByHand) {
  const auto activations = [](int states) {
    const auto recipe = parse_recipe(
        absl::StrCat("name: one\nmodel: {family: mamba, hidden_size: 64, num_layers: 1, mamba: "
                     "{state_size: ",
                     states,
                     "}}\nstages:\n- {steps: 1, sequence_length: 64, batch_tokens: 64, "
                     "data: {sources: [{path: x}]}}\n"),
        "one");
    WEFT_CHECK(recipe.ok(), recipe.status());
    return plan_memory(*recipe, 4).activations;
  };
  const int64_t n = 64, inner = 128, more = 16;
  EXPECT_EQ(activations(32) - activations(16),
            4 * (2 * more * n + inner * more * n / kTokensPerKeptState));
}

// The search for the longest sequence asks for more bytes than there are numbers.
TEST(PlanMemory, OfMoreTokensIsNeverLess) {
  Recipe recipe = good();
  recipe.memory.mini_sequences = MiniSequenceRule::kNone;
  int64_t before = 0;
  for (int bits = 20; bits < 60; ++bits) {
    recipe.stages[0].micro_batch_tokens = int64_t{1} << bits;
    const int64_t total = plan_memory(recipe, 8).total();
    EXPECT_GE(total, before) << "2^" << bits << " tokens";
    before = total;
  }
}

TEST(PlanMemory, AvailableMemoryIsThatOfAMachine) {
  EXPECT_GT(available_memory(at::kCPU), int64_t{1} << 28);
  EXPECT_LT(available_memory(at::kCPU), int64_t{1} << 50);
}

TEST(DescribePlan, ListsLayersAndTotals) {
  const std::string text = describe_plan(good());
  for (const char* piece :
       {"broken: jamba, 4 layers, hidden_size 64, vocabulary 257\n", "layer       mixer ",
        "moe 4 x 192, top 2",
        "stage main: 10 updates of 256 tokens in sequences of 64, 256 a forward"}) {
    EXPECT_NE(text.find(piece), std::string::npos) << piece << "\n" << text;
  }
}

TEST(DescribePlan, FoldsEqualLayersAndSumsThem) {
  Recipe recipe = good();
  recipe.model = ModelRecipe{};
  recipe.model.family = Family::kLlama;
  recipe.model.vocab_size = 257;
  recipe.model.hidden_size = 64;
  recipe.model.num_layers = 3;
  resolve(recipe.model);
  const std::string text = describe_plan(recipe);
  // 3 (4 d^2 + 3 d f + 2 d) with d = 64, f = 192.
  EXPECT_NE(text.find("0-2 "), std::string::npos) << text;
  EXPECT_NE(text.find(" 160,128  160,128\n"), std::string::npos) << text;
}

// More than any machine of CI holds: nothing of it is allocated.
TEST(DescribePlan, CountsFiftyTwoBillionParameters) {
  const Recipe recipe = with_sets(WEFT_SOURCE_DIR "/configs/models/jamba-v0.1.yaml", {});
  const std::string text = describe_plan(recipe);
  EXPECT_NE(text.find("51,570,323,328  12,110,311,296"), std::string::npos) << text;
}

TEST(DescribePlan, SaysWhatWaitsInTheHostOfAGpu) {
  Recipe recipe = with_sets(WEFT_SOURCE_DIR "/configs/models/llama-small.yaml", {});
  recipe.device = DeviceKind::kCuda;
  recipe.memory.recompute = Recompute::kBlock;
  recipe.memory.offload = true;
  const std::string text = describe_plan(recipe, int64_t{80} << 30);
  EXPECT_NE(text.find("\n  in its host  "), std::string::npos) << text;
  const size_t longest = text.find("\nlongest sequence that fits in 80.0 GiB: ");
  ASSERT_NE(longest, std::string::npos) << text;
  EXPECT_NE(text.find(" tokens, one a forward pass (", longest), std::string::npos) << text;
  EXPECT_NE(text.find(" GiB in its host)\n", longest), std::string::npos) << text;
}

TEST(DescribePlan, CountsTheParametersOfLlamaSmall) {
  const Recipe recipe = with_sets(WEFT_SOURCE_DIR "/configs/models/llama-small.yaml", {});
  EXPECT_EQ(parameter_table(build_config(recipe.model)).numel(), 22'684'672);
}

}  // namespace
}  // namespace weft
