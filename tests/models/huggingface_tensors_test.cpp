// What the tensors of a Hugging Face checkpoint are made of.
#include <map>
#include <set>

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "models/causal_lm.h"
#include "models/families.h"
#include "tests/models/huggingface_folders.h"

namespace weft {
namespace {

TEST(HfTensors, HoldEveryRowOfEveryParameterOnceUnderTheNamesOfTheFile) {
  for (const char* family : kHfFamilies) {
    const HfFolder folder = open_folder(fixture_folder(family));
    std::map<std::string, std::vector<int64_t>> on_disk, ours;
    for (const NamedTensor& named : tensors_of(fixture_folder(family) / "model.safetensors")) {
      on_disk[named.name] = named.tensor.sizes().vec();
    }
    std::map<std::string, std::multiset<int64_t>> experts;  // of each parameter; -1: all of it
    for (const HfTensor& tensor : hf_tensors(folder.config().model.family, folder.table())) {
      EXPECT_TRUE(ours.emplace(tensor.name, tensor.shape).second) << tensor.name << " twice";
      int64_t rows = 0;
      for (const HfPart& part : tensor.parts) {
        const ParameterSpec* spec = folder.table().find(part.name);
        ASSERT_NE(spec, nullptr) << part.name;
        EXPECT_EQ(part.rows, spec->shape[part.expert < 0 ? 0 : 1]) << part.name;
        experts[part.name].insert(part.expert);
        rows += part.rows;
      }
      EXPECT_EQ(rows, tensor.shape[tensor.layout == HfLayout::kTransposed ? 1 : 0]);
    }
    EXPECT_EQ(ours, on_disk) << family;
    EXPECT_EQ(experts.size(), folder.table().rows().size()) << family;
    for (const auto& [name, parts] : experts) {
      std::multiset<int64_t> all = {-1};
      if (!parts.contains(-1)) {
        all.clear();
        for (int64_t j = 0; j < folder.table().find(name)->shape[0]; ++j) all.insert(j);
      }
      EXPECT_EQ(parts, all) << family << " " << name;
    }
  }
}

// Names beyond those of the fixture, with other members of config.json; `-` before those it loses.
TEST(HfTensors, OptionalOnesAreThereWhereTheModelHasThem) {
  const auto names = [](const std::string& family, const Json& members) {
    Json json = Json::parse(contents(fixture_folder(family) / "config.json"));
    json.update(members);
    const auto config = read_hf_config(json.dump(), "config.json");
    WEFT_CHECK(config.ok(), config.status());
    std::set<std::string> names;
    const ParameterTable table = parameter_table(build_config(config->model));
    for (const HfTensor& tensor : hf_tensors(config->model.family, table)) {
      names.insert(tensor.name);
    }
    return names;
  };
  const auto differences = [&](const std::string& family, Json members) {
    const std::set<std::string> before = names(family, Json::object());
    const std::set<std::string> after = names(family, members);
    std::set<std::string> differences;
    for (const std::string& name : after) {
      if (!before.contains(name)) differences.insert(name);
    }
    for (const std::string& name : before) {
      if (!after.contains(name)) differences.insert("-" + name);
    }
    return differences;
  };
  using Names = std::set<std::string>;
  for (const char* family : {"llama", "mixtral", "jamba"}) {
    EXPECT_EQ(differences(family, {{"tie_word_embeddings", true}}), Names{"-lm_head.weight"});
  }
  for (const char* family : {"gpt2", "mamba", "mamba2"}) {
    EXPECT_EQ(differences(family, {{"tie_word_embeddings", false}}), Names{"lm_head.weight"});
  }
  EXPECT_EQ(differences("openelm", {{"share_input_output_layers", false}}),
            Names{"lm_head.weight"});
  const std::string layer = "model.layers.0.";
  EXPECT_EQ(differences("llama", {{"num_hidden_layers", 1}, {"attention_bias", true}}).size(),
            4u + 9u);
  const Names biases = differences("llama", {{"attention_bias", true}, {"mlp_bias", true}});
  EXPECT_EQ(biases.size(), 14u);
  EXPECT_TRUE(biases.contains(layer + "self_attn.o_proj.bias"));
  EXPECT_TRUE(biases.contains(layer + "mlp.gate_proj.bias"));
  const std::string mixer = "backbone.layers.0.mixer.";
  for (const char* family : {"mamba", "mamba2"}) {
    const Names names = differences(
        family, {{"use_bias", true}, {"use_conv_bias", false}, {"num_hidden_layers", 1}});
    EXPECT_TRUE(names.contains(mixer + "in_proj.bias")) << family;
    EXPECT_TRUE(names.contains(mixer + "out_proj.bias")) << family;
    EXPECT_TRUE(names.contains("-" + mixer + "conv1d.bias")) << family;
  }
  const Names dense = differences("jamba", {{"num_experts", 1}, {"num_experts_per_tok", 1}});
  EXPECT_TRUE(dense.contains(layer + "feed_forward.up_proj.weight"));
  EXPECT_TRUE(dense.contains("-" + layer + "feed_forward.router.weight"));
  EXPECT_TRUE(differences("openelm", {{"normalize_qk_projections", false}})
                  .contains("-transformer.layers.2.attn.q_norm.weight"));
}

TEST(HfFolderValues, RowsAreSplitTransposedAndTakenOutOfConvolutions) {
  const HfFolder gpt2 = open_folder(fixture_folder("gpt2"));
  const Tensor c_attn = stored_tensor("gpt2", "transformer.h.1.attn.c_attn.weight");  // [15, 45]
  EXPECT_TRUE(
      at::equal(read_logical(gpt2, "layers.1.mixer.q.weight"), c_attn.narrow(1, 0, 15).t()));
  EXPECT_TRUE(
      at::equal(read_logical(gpt2, "layers.1.mixer.v.weight"), c_attn.narrow(1, 30, 15).t()));
  EXPECT_TRUE(
      at::equal(read_logical(gpt2, "layers.0.mixer.k.bias"),
                stored_tensor("gpt2", "transformer.h.0.attn.c_attn.bias").narrow(0, 15, 15)));
  const HfFolder mamba = open_folder(fixture_folder("mamba"));
  EXPECT_TRUE(
      at::equal(read_logical(mamba, "layers.0.mixer.conv.weight"),
                stored_tensor("mamba", "backbone.layers.0.mixer.conv1d.weight").squeeze(1)));
  EXPECT_TRUE(at::equal(
      read_logical(mamba, "layers.1.mixer.in_z.weight"),
      stored_tensor("mamba", "backbone.layers.1.mixer.in_proj.weight").narrow(0, 32, 32)));
  const HfFolder mamba2 = open_folder(fixture_folder("mamba2"));  // z 32, x 32, B 10, C 10, dt 4
  const Tensor in_proj = stored_tensor("mamba2", "backbone.layers.0.mixer.in_proj.weight");
  EXPECT_TRUE(
      at::equal(read_logical(mamba2, "layers.0.mixer.in_z.weight"), in_proj.narrow(0, 0, 32)));
  EXPECT_TRUE(
      at::equal(read_logical(mamba2, "layers.0.mixer.in_c.weight"), in_proj.narrow(0, 74, 10)));
  EXPECT_TRUE(
      at::equal(read_logical(mamba2, "layers.0.mixer.in_dt.weight"), in_proj.narrow(0, 84, 4)));
}

TEST(HfFolderValues, ExpertsBecomeOneTensorAndAreViewedOneByOne) {
  const HfFolder folder = open_folder(fixture_folder("mixtral"));
  const Tensor gate = read_logical(folder, "layers.1.feed_forward.experts.gate.weight");
  ASSERT_EQ(gate.sizes(), (std::vector<int64_t>{4, 20, 16}));
  for (int64_t j = 0; j < 4; ++j) {
    const std::string name = "model.layers.1.block_sparse_moe.experts." + std::to_string(j);
    EXPECT_TRUE(at::equal(gate[j], stored_tensor("mixtral", name + ".w1.weight")));
    const Tensor view = folder.view({"layers.1.feed_forward.experts.gate.weight", j, 20});
    EXPECT_TRUE(at::equal(view, gate[j]));
  }
  folder.release(*folder.table().find("layers.1.feed_forward.experts.gate.weight"));
  EXPECT_TRUE(at::equal(read_logical(folder, "layers.1.feed_forward.experts.gate.weight"), gate));
}

TEST(HfFolderPath, IsOneWithAConfigAndWithoutAManifest) {
  const TemporaryFolder folder;
  EXPECT_TRUE(is_hf_folder(fixture_folder("llama")));
  EXPECT_FALSE(is_hf_folder(folder.path()));
  EXPECT_FALSE(is_hf_folder(folder.path() / "absent"));
  write_text(folder.path() / "config.json", "{}");
  EXPECT_TRUE(is_hf_folder(folder.path()));
  write_text(folder.path() / "manifest.json", "{}");
  EXPECT_FALSE(is_hf_folder(folder.path()));
}

}  // namespace
}  // namespace weft
