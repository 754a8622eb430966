// Evaluation and generation with a tiny untrained model.
#include "trainer/evaluate.h"

#include <cmath>
#include <numbers>

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "models/families.h"
#include "tests/support/process.h"
#include "tests/support/tiny_store.h"
#include "trainer/generate.h"

namespace weft {
namespace {

class EvaluateTest : public testing::Test {
 protected:
  EvaluateTest()
      : config_(tiny()), table_(parameter_table(config_)), store_(table_, cpu_types(at::kDouble)) {
    store_.initialize(3);
    model_.emplace(config_, store_);
  }

  static ModelConfig tiny() {
    ModelRecipe recipe;
    recipe.family = Family::kJamba;
    recipe.hidden_size = 16;
    recipe.num_layers = 2;
    recipe.num_heads = 2;
    recipe.moe.num_experts = 3;
    recipe.layout.attention_period = 2;
    recipe.layout.attention_offset = 1;
    recipe.vocab_size = 257;
    recipe.init.std = 0.3;
    resolve(recipe);
    return build_config(recipe);
  }

  TokenShards shards(const std::vector<std::string>& documents) {
    const Tokenizer tokenizer{TokenizerConfig{}};
    const fs::path prefix = folder_.path() / "shards";
    auto writer = TokenShardsWriter::create(prefix, 257);
    WEFT_CHECK(writer.ok(), writer.status());
    for (const std::string& text : documents) {
      std::vector<int32_t> ids = tokenizer.encode(text);
      ids.push_back(tokenizer.end_of_document());
      WEFT_CHECK(writer->add_document(ids).ok(), text);
    }
    WEFT_CHECK(writer->finish().ok(), "finish");
    auto opened = TokenShards::open(prefix, 257);
    WEFT_CHECK(opened.ok(), opened.status());
    return *std::move(opened);
  }

  // The sum of a document's losses in one pass: [256, text] -> [text, 256].
  double whole_document(const std::string& text) const {
    std::vector<int64_t> ids = {256};
    for (const unsigned char c : text) ids.push_back(c);
    ids.push_back(256);
    const Tensor all = at::tensor(ids, at::kLong).unsqueeze(0);
    const int64_t n = static_cast<int64_t>(ids.size()) - 1;
    return model_
        ->loss(all.narrow(1, 0, n), all.narrow(1, 1, n), Documents::whole_rows(1, n, at::kCPU))
        .nll_sum.item<double>();
  }

  TemporaryFolder folder_;
  ModelConfig config_;
  ParameterTable table_;
  ParameterStore store_;
  std::optional<CausalLM> model_;
};

TEST_F(EvaluateTest, ScoresEveryByteAndEveryEndOnce) {
  const TokenShards text = shards({"to be or not", "that is"});
  const Evaluation result = evaluate(*model_, text, {.sequence_length = 32});
  EXPECT_EQ(result.text_bytes, 12 + 7);
  EXPECT_EQ(result.targets, 13 + 8);
  const double expected = whole_document("to be or not") + whole_document("that is");
  EXPECT_NEAR(result.nll_sum, expected, 1e-10 * expected);
  EXPECT_DOUBLE_EQ(result.loss(), result.nll_sum / 21);
  EXPECT_DOUBLE_EQ(result.perplexity(), std::exp(result.nll_sum / 21));
  EXPECT_DOUBLE_EQ(result.bits_per_byte(), result.nll_sum / std::numbers::ln2 / 19);
}

TEST_F(EvaluateTest, ShortWindowsScoreAsMuchAndContextBringsTheLossOfTheWhole) {
  const std::string document = "what a piece of work is a man";
  const TokenShards text = shards({document});
  const Evaluation cut = evaluate(*model_, text, {.sequence_length = 8});
  EXPECT_EQ(cut.targets, 30);
  EXPECT_GT(std::abs(cut.nll_sum - whole_document(document)), 1e-6);
  const Evaluation overlapped = evaluate(*model_, text, {.sequence_length = 31, .context = 30});
  EXPECT_NEAR(overlapped.nll_sum, whole_document(document), 1e-9);
}

TEST_F(EvaluateTest, RowsAtATimeDoNotMatterAndProgressCountsThem) {
  const TokenShards text = shards({"abcdefghijklmnopqrstuvwxyz", "0123456789"});
  std::vector<int64_t> done;
  const auto run = [&](int64_t rows) {
    return evaluate(*model_, text,
                    {.sequence_length = 4,
                     .max_tokens = {},
                     .rows = rows,
                     .device = at::kCPU,
                     .progress =
                         [&](int64_t n, int64_t) {
                           done.push_back(n);
                           return true;
                         }})
        .nll_sum;
  };
  const double one = run(1);
  EXPECT_EQ(done.size(), 7u + 3u);
  EXPECT_NEAR(run(3), one, 1e-10 * one);
}

TEST_F(EvaluateTest, MaxTokensLimitsTheTargets) {
  const TokenShards text = shards({"abcdefghijklmnopqrstuvwxyz"});
  EXPECT_EQ(evaluate(*model_, text, {.sequence_length = 4, .max_tokens = 10}).targets, 10);
}

TEST_F(EvaluateTest, GenerationDependsOnPromptAndSeedAlone) {
  const auto text = [&](uint64_t seed, double temperature) {
    const GenerationOptions options = {
        .sampling = {.temperature = temperature}, .seed = seed, .max_tokens = 20};
    return (*generate(*model_, {{256, 'a'}}, options))[0];
  };
  EXPECT_EQ(text(1, 1.0), text(1, 1.0));
  EXPECT_NE(text(1, 1.0), text(2, 1.0));
  EXPECT_EQ(text(1, 0.0), text(2, 0.0));
  EXPECT_EQ(text(1, 1.0).size(), 20u);
}

TEST_F(EvaluateTest, GenerationEndsAtTheEndTokenOrWhenToldTo) {
  const auto answer = [&](const GenerationOptions& options) {
    return (*generate(*model_, {{256}}, options))[0];
  };
  GenerationOptions options = {.sampling = {.temperature = 1.0}, .seed = 1, .max_tokens = 20};
  const std::vector<int64_t> all = answer(options);
  options.end_tokens = {all[5]};
  const std::vector<int64_t> shortened = answer(options);
  EXPECT_LE(shortened.size(), 5u);
  EXPECT_TRUE(std::equal(shortened.begin(), shortened.end(), all.begin()));
  options.end_tokens = {};
  options.on_token = [](size_t, int64_t) { return false; };
  EXPECT_EQ(answer(options).size(), 1u);
}

}  // namespace
}  // namespace weft
