// `weft import` and `weft export` stream: what they need over their baseline is at most a file and
// the largest tensor, however large the model is.
#include <set>
#include <string>
#include <vector>

#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/safetensors.h"
#include "tests/support/process.h"

namespace weft {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr int64_t kMostKib = INT64_MAX;  // the sanitizer keeps what was freed
#else
constexpr int64_t kShardKib = 20'000'000 / 1024, kLargestTensorKib = 4096;  // [1024, 1024]
constexpr int64_t kMostKib = kShardKib + kLargestTensorKib;
#endif
constexpr char kShardGb[] = "0.02";

// A Llama whose tensors are [width, width] at most, 28 * width^2 bytes a layer.
void write_llama(const fs::path& folder, int64_t width, int64_t layers) {
  const nlohmann::json config = {{"model_type", "llama"},        {"vocab_size", 16},
                                 {"hidden_size", width},         {"intermediate_size", width},
                                 {"num_hidden_layers", layers},  {"num_attention_heads", 8},
                                 {"max_position_embeddings", 64}};
  write_text(folder / "config.json", config.dump());
  std::vector<TensorSource> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    const double value = 0.01 * static_cast<double>(tensors.size());
    tensors.push_back({name, at::kFloat, shape, [shape, value]() -> absl::StatusOr<Tensor> {
                         return at::full(shape, value);
                       }});
  };
  add("model.embed_tokens.weight", {16, width});
  for (int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                             "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
      add(layer + name + ".weight", {width, width});
    }
    add(layer + "input_layernorm.weight", {width});
    add(layer + "post_attention_layernorm.weight", {width});
  }
  add("model.norm.weight", {width});
  add("lm_head.weight", {16, width});
  const auto written = write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  WEFT_CHECK(written.ok(), written.status());
}

class ExportMemory : public testing::Test {
 protected:
  const fs::path& folder() const { return folder_.path(); }

  // Resident set of `weft ...` in this folder at its largest.
  int64_t peak_kib(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), WEFT_BINARY_DIR "/weft");
    ProcessOptions options;
    options.folder = folder();
    const Outcome outcome = Process(arguments, options).wait();
    EXPECT_EQ(outcome.exit_status, 0) << outcome.output;
    return outcome.peak_kib;
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(ExportMemory, GrowsByAShardAndATensorAtMost) {
  write_llama(folder() / "small", 64, 1);
  write_llama(folder() / "large", 1024, 4);  // 112 MiB
  const auto growth = [&](const auto& arguments) {
    const int64_t small = peak_kib(arguments("small"));
    return peak_kib(arguments("large")) - small;
  };
  using Words = std::vector<std::string>;
  EXPECT_LE(growth([](const std::string& model) {
              return Words{"export", model, "--out", model + "-copy", "--shard-gb", kShardGb};
            }),
            kMostKib);
  EXPECT_LE(growth([](const std::string& model) {
              return Words{"import", model, "--out", model + "-checkpoint"};
            }),
            kMostKib);
  EXPECT_LE(growth([](const std::string& model) {
              return Words{"export",         model + "-checkpoint", "--out",
                           model + "-again", "--shard-gb",          kShardGb};
            }),
            kMostKib);
  // 28 tensors of 4 MiB, four of which fit into a file.
  const auto index =
      nlohmann::json::parse(contents(folder() / "large-again" / "model.safetensors.index.json"));
  std::set<std::string> files;
  for (const auto& [name, file] : index.at("weight_map").items()) files.insert(file);
  EXPECT_GE(files.size(), 7u);
}

}  // namespace
}  // namespace weft
