// Hugging Face checkpoints on disk: what their tensors are made of, and what is refused.
#include <algorithm>
#include <functional>
#include <set>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/causal_lm.h"
#include "models/families.h"
#include "models/huggingface/folder.h"
#include "tests/support/mutate.h"
#include "tests/support/process.h"

namespace weft {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kFamilies[] = {"gpt2",   "jamba",   "llama",  "mamba",
                                     "mamba2", "mixtral", "openelm"};
constexpr char kIndex[] = "model.safetensors.index.json";

fs::path fixture(const std::string& family) {
  return fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures" / family;
}

HfFolder opened(const fs::path& path) {
  absl::StatusOr<HfFolder> folder = HfFolder::open(path);
  WEFT_CHECK(folder.ok(), folder.status());
  return *std::move(folder);
}

std::vector<NamedTensor> tensors_of(const fs::path& path) {
  const auto file = SafetensorsFile::open(path);
  WEFT_CHECK(file.ok(), file.status());
  std::vector<NamedTensor> tensors;
  for (const SafetensorsEntry& entry : file->entries()) {
    tensors.push_back({entry.name, file->read(entry)});
  }
  return tensors;
}

Tensor stored(const std::string& family, const std::string& name) {
  for (const NamedTensor& named : tensors_of(fixture(family) / "model.safetensors")) {
    if (named.name == name) return named.tensor;
  }
  WEFT_CHECK(false, "no tensor ", name);
}

Tensor read(const HfFolder& folder, const std::string& name) {
  const ParameterSpec* row = folder.table().find(name);
  WEFT_CHECK(row != nullptr, "no parameter ", name);
  const Tensor out = at::empty(row->shape, folder.dtype(*row));
  folder.read(*row, out);
  return out;
}

// A copy of a fixture that can be damaged.
class HfFolderTest : public testing::Test {
 protected:
  const fs::path& path() const { return folder_.path(); }
  std::string weights() const { return (path() / "model.safetensors").string(); }

  void copy(const std::string& family) const {
    for (const char* name : {"config.json", "model.safetensors"}) {
      fs::copy(fixture(family) / name, path() / name, fs::copy_options::overwrite_existing);
    }
  }
  void write(const std::vector<NamedTensor>& tensors,
             const std::string& name = "model.safetensors") const {
    fs::remove(path() / name);
    const auto written = write_safetensors(path() / name, tensors, {{"format", "pt"}});
    WEFT_CHECK(written.ok(), written.status());
  }
  // Changes the list of tensors of the copy.
  void edit(const std::function<void(std::vector<NamedTensor>&)>& change) const {
    std::vector<NamedTensor> tensors = tensors_of(weights());
    change(tensors);
    write(tensors);
  }
  void rename(const std::function<std::string(const std::string&)>& name) const {
    edit([&](auto& tensors) {
      for (NamedTensor& tensor : tensors) tensor.name = name(tensor.name);
    });
  }
  void write_index(const Json& weight_map) const {
    write_text(path() / kIndex, Json({{"weight_map", weight_map}}).dump());
  }
  // Cuts the copy into two files with an index, whose map comes back.
  Json shard() const {
    const std::vector<NamedTensor> all = tensors_of(weights());
    const auto middle = all.begin() + static_cast<int64_t>(all.size() / 2);
    write({all.begin(), middle}, "a.safetensors");
    write({middle, all.end()}, "b.safetensors");
    fs::remove(weights());
    Json map = Json::object();
    for (auto it = all.begin(); it != all.end(); ++it) {
      map[it->name] = it < middle ? "a.safetensors" : "b.safetensors";
    }
    write_index(map);
    return map;
  }

  // The message that refuses the folder; empty where it is accepted.
  std::string refusal() const {
    const absl::Status status = HfFolder::open(path()).status();
    EXPECT_EQ(exit_status(status), status.ok() ? 0 : 2) << status;
    return std::string(status.message());
  }
  std::string problem(const std::string& text) const { return path().string() + ": " + text; }

  void expect_values_of(const std::string& family) const {
    const HfFolder ours = opened(path()), original = opened(fixture(family));
    ASSERT_EQ(ours.table().rows().size(), original.table().rows().size());
    for (const ParameterSpec& row : original.table().rows()) {
      EXPECT_TRUE(at::equal(read(ours, row.name), read(original, row.name))) << row.name;
    }
  }

 private:
  TemporaryFolder folder_{fast_folder()};
};

bool drop(std::vector<NamedTensor>& tensors, const std::string& name) {
  return std::erase_if(tensors, [&](const NamedTensor& t) { return t.name == name; }) == 1;
}

Tensor& find(std::vector<NamedTensor>& tensors, const std::string& name) {
  for (NamedTensor& named : tensors) {
    if (named.name == name) return named.tensor;
  }
  WEFT_CHECK(false, "no tensor ", name);
}

TEST(HfTensors, HoldEveryRowOfEveryParameterOnceUnderTheNamesOfTheFile) {
  for (const char* family : kFamilies) {
    const HfFolder folder = opened(fixture(family));
    std::map<std::string, std::vector<int64_t>> on_disk, ours;
    for (const NamedTensor& named : tensors_of(fixture(family) / "model.safetensors")) {
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
    Json json = Json::parse(contents(fixture(family) / "config.json"));
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
  const HfFolder gpt2 = opened(fixture("gpt2"));
  const Tensor c_attn = stored("gpt2", "transformer.h.1.attn.c_attn.weight");  // [15, 45]
  EXPECT_TRUE(at::equal(read(gpt2, "layers.1.mixer.q.weight"), c_attn.narrow(1, 0, 15).t()));
  EXPECT_TRUE(at::equal(read(gpt2, "layers.1.mixer.v.weight"), c_attn.narrow(1, 30, 15).t()));
  EXPECT_TRUE(at::equal(read(gpt2, "layers.0.mixer.k.bias"),
                        stored("gpt2", "transformer.h.0.attn.c_attn.bias").narrow(0, 15, 15)));
  const HfFolder mamba = opened(fixture("mamba"));
  EXPECT_TRUE(at::equal(read(mamba, "layers.0.mixer.conv.weight"),
                        stored("mamba", "backbone.layers.0.mixer.conv1d.weight").squeeze(1)));
  EXPECT_TRUE(
      at::equal(read(mamba, "layers.1.mixer.in_z.weight"),
                stored("mamba", "backbone.layers.1.mixer.in_proj.weight").narrow(0, 32, 32)));
  const HfFolder mamba2 = opened(fixture("mamba2"));  // z 32, x 32, B 10, C 10, dt 4
  const Tensor in_proj = stored("mamba2", "backbone.layers.0.mixer.in_proj.weight");
  EXPECT_TRUE(at::equal(read(mamba2, "layers.0.mixer.in_z.weight"), in_proj.narrow(0, 0, 32)));
  EXPECT_TRUE(at::equal(read(mamba2, "layers.0.mixer.in_c.weight"), in_proj.narrow(0, 74, 10)));
  EXPECT_TRUE(at::equal(read(mamba2, "layers.0.mixer.in_dt.weight"), in_proj.narrow(0, 84, 4)));
}

TEST(HfFolderValues, ExpertsBecomeOneTensorAndAreViewedOneByOne) {
  const HfFolder folder = opened(fixture("mixtral"));
  const Tensor gate = read(folder, "layers.1.feed_forward.experts.gate.weight");
  ASSERT_EQ(gate.sizes(), (std::vector<int64_t>{4, 20, 16}));
  for (int64_t j = 0; j < 4; ++j) {
    const std::string name = "model.layers.1.block_sparse_moe.experts." + std::to_string(j);
    EXPECT_TRUE(at::equal(gate[j], stored("mixtral", name + ".w1.weight")));
    const Tensor view = folder.view({"layers.1.feed_forward.experts.gate.weight", j, 20});
    EXPECT_TRUE(at::equal(view, gate[j]));
  }
  folder.release(*folder.table().find("layers.1.feed_forward.experts.gate.weight"));
  EXPECT_TRUE(at::equal(read(folder, "layers.1.feed_forward.experts.gate.weight"), gate));
}

TEST(HfFolderPath, IsOneWithAConfigAndWithoutAManifest) {
  const TemporaryFolder folder;
  EXPECT_TRUE(is_hf_folder(fixture("llama")));
  EXPECT_FALSE(is_hf_folder(folder.path()));
  EXPECT_FALSE(is_hf_folder(folder.path() / "absent"));
  write_text(folder.path() / "config.json", "{}");
  EXPECT_TRUE(is_hf_folder(folder.path()));
  write_text(folder.path() / "manifest.json", "{}");
  EXPECT_FALSE(is_hf_folder(folder.path()));
}

TEST_F(HfFolderTest, TypesAreThoseOfTheFileAndTheWidestOfExperts) {
  copy("mixtral");
  edit([](auto& tensors) {
    for (NamedTensor& named : tensors) named.tensor = named.tensor.to(at::kBFloat16);
    Tensor& one = find(tensors, "model.layers.0.block_sparse_moe.experts.2.w1.weight");
    one = one.to(at::kFloat);
  });
  const HfFolder folder = opened(path());
  const auto type = [&](const char* name) { return folder.dtype(*folder.table().find(name)); };
  EXPECT_EQ(type("embedding.weight"), at::kBFloat16);
  EXPECT_EQ(type("layers.0.feed_forward.experts.gate.weight"), at::kFloat);
  EXPECT_EQ(type("layers.0.feed_forward.experts.up.weight"), at::kBFloat16);
  const Tensor wide = at::empty({31, 16}, at::kDouble);
  folder.read(*folder.table().find("embedding.weight"), wide);
  EXPECT_TRUE(at::equal(wide.to(at::kBFloat16),
                        stored("mixtral", "model.embed_tokens.weight").to(at::kBFloat16)));
}

TEST_F(HfFolderTest, ATensorThatIsMissingIsNamedWithItsShape) {
  copy("llama");
  edit([](auto& tensors) { ASSERT_TRUE(drop(tensors, "model.layers.1.mlp.up_proj.weight")); });
  EXPECT_EQ(refusal(), problem("tensor 'model.layers.1.mlp.up_proj.weight' [24, 16] is missing"));
}

TEST_F(HfFolderTest, ATensorTooManyIsNamed) {
  copy("llama");
  edit([](auto& tensors) { tensors.push_back({"model.layers.2.norm", at::ones({2})}); });
  EXPECT_EQ(refusal(), problem("tensor 'model.layers.2.norm' is unexpected"));
}

TEST_F(HfFolderTest, ATensorOfAnotherShapeIsNamedWithBothShapes) {
  copy("mamba");
  edit([](auto& tensors) {
    find(tensors, "backbone.layers.0.mixer.conv1d.weight") = at::ones({32, 4});
    find(tensors, "backbone.norm_f.weight") = at::ones({});
  });
  EXPECT_EQ(refusal(),
            problem("tensor 'backbone.layers.0.mixer.conv1d.weight' is [32, 4], config.json makes "
                    "it [32, 1, 4]\n") +
                problem("tensor 'backbone.norm_f.weight' is [], config.json makes it [16]"));
}

TEST_F(HfFolderTest, ATensorOfATypeWithoutWeightsIsNamed) {
  copy("llama");
  edit([](auto& tensors) { find(tensors, "model.norm.weight") = at::arange(16, at::kLong); });
  EXPECT_EQ(refusal(), problem("tensor 'model.norm.weight' is I64, must be F32, BF16, F16 or F64"));
}

TEST_F(HfFolderTest, AllProblemsAreNamedAtOnce) {
  copy("jamba");
  edit([](auto& tensors) {
    ASSERT_TRUE(drop(tensors, "model.layers.2.feed_forward.experts.1.up_proj.weight"));
    ASSERT_TRUE(drop(tensors, "lm_head.weight"));
    find(tensors, "model.layers.0.mamba.D") = at::ones({31});
    tensors.push_back({"extra", at::ones({1})});
  });
  const std::string message = refusal();
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 3);
  EXPECT_THAT(message, HasSubstr(problem("tensor 'model.layers.0.mamba.D' is [31], config.json "
                                         "makes it [32]\n")));
  EXPECT_THAT(message, HasSubstr(problem("tensor 'model.layers.2.feed_forward.experts.1.up_proj."
                                         "weight' [12, 16] is missing\n")));
  EXPECT_THAT(message, HasSubstr(problem("tensor 'lm_head.weight' [31, 16] is missing\n")));
  EXPECT_THAT(message, HasSubstr(problem("tensor 'extra' is unexpected")));
}

TEST_F(HfFolderTest, AfterTwentyProblemsTheRestIsCounted) {
  copy("llama");
  write({{"x", at::ones({1})}});  // 21 are missing, one is unexpected
  const std::string message = refusal();
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 20);
  EXPECT_TRUE(message.ends_with("\nand 2 more")) << message;
}

TEST_F(HfFolderTest, TheWrongFamilyIsRefusedTensorByTensor) {
  copy("llama");
  fs::copy(fixture("mamba") / "config.json", path() / "config.json",
           fs::copy_options::overwrite_existing);
  EXPECT_THAT(refusal(),
              StartsWith(problem("tensor 'backbone.embeddings.weight' [31, 16] is missing\n")));
}

TEST_F(HfFolderTest, ConfigProblemsNameTheFile) {
  EXPECT_THAT(refusal(), StartsWith((path() / "config.json").string()));  // there is none
  copy("llama");
  write_text(path() / "config.json", R"({"model_type": "bert"})");
  EXPECT_THAT(refusal(), StartsWith((path() / "config.json").string() +
                                    ": model_type: is 'bert', weft knows"));
}

TEST_F(HfFolderTest, TwoFilesWithAnIndexAreOneCheckpoint) {
  copy("jamba");
  shard();
  expect_values_of("jamba");
  write_text(weights(), "the index goes first");
  expect_values_of("jamba");
}

TEST_F(HfFolderTest, AnIndexNamesOnlyFilesOfItsFolder) {
  copy("llama");
  const Json map = shard();
  const std::string index = (path() / kIndex).string();
  for (const Json& file : {Json("../a.safetensors"), Json("/a.safetensors"), Json("sub/a"),
                           Json("a/"), Json(""), Json(5), Json(nullptr), Json::array()}) {
    Json changed = map;
    changed["model.norm.weight"] = file;
    write_index(changed);
    EXPECT_EQ(refusal(), index + ": weight_map.model.norm.weight: must be the name of a file here")
        << file;
  }
  for (const char* folder : {".", ".."}) {
    Json changed = map;
    changed["model.norm.weight"] = folder;
    write_index(changed);
    EXPECT_THAT(refusal(), StartsWith(path().string())) << folder;
  }
}

TEST_F(HfFolderTest, AFileThatTheIndexNamesMustBeThere) {
  copy("llama");
  shard();
  fs::remove(path() / "b.safetensors");
  EXPECT_THAT(refusal(), StartsWith((path() / "b.safetensors").string() + ": "));
}

TEST_F(HfFolderTest, ATensorMustBeInTheFileThatTheIndexNames) {
  copy("llama");
  Json map = shard();
  map["model.norm.weight"] =
      map["model.norm.weight"] == Json("a.safetensors") ? "b.safetensors" : "a.safetensors";
  write_index(map);
  EXPECT_EQ(refusal(), (path() / kIndex).string() + ": weight_map.model.norm.weight: is not in " +
                           map["model.norm.weight"].get<std::string>());
}

TEST_F(HfFolderTest, ATensorInTwoFilesIsRefused) {
  copy("llama");
  const Json map = shard();
  std::vector<NamedTensor> second = tensors_of(path() / "b.safetensors");
  const NamedTensor first = tensors_of(path() / "a.safetensors")[0];
  second.push_back(first);
  write(second, "b.safetensors");
  EXPECT_EQ(refusal(), problem("tensor '" + first.name + "' is in two files"));
}

TEST_F(HfFolderTest, AnIndexThatIsNoneIsNamed) {
  copy("llama");
  const std::string index = (path() / kIndex).string();
  for (const char* text : {"{}", "[]", R"({"weight_map": []})", R"({"weight_map": null})"}) {
    write_text(path() / kIndex, text);
    EXPECT_EQ(refusal(), index + ": weight_map: is missing") << text;
  }
  write_text(path() / kIndex, "{\"weight_map\": {\"a\"");
  EXPECT_THAT(refusal(), StartsWith(index + ": is not JSON (byte "));
  write_text(path() / kIndex, R"({"weight_map": {"a": "b", "a": "b"}})");
  EXPECT_EQ(refusal(), index + ": has 'a' twice");
  write_text(path() / kIndex, R"({"weight_map": {"a": [[1]]}})");
  EXPECT_EQ(refusal(), index + ": is nested more than 3 deep");
}

TEST_F(HfFolderTest, ATruncatedFileIsNamed) {
  copy("llama");
  const std::string whole = contents(weights());
  for (const size_t size : {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{9}, size_t{100},
                            size_t{2048}, whole.size() / 2, whole.size() - 4, whole.size() - 1}) {
    write_text(weights(), whole.substr(0, size));
    EXPECT_THAT(refusal(), StartsWith(weights() + ": ")) << size;
  }
  write_text(weights(), whole + "more");
  EXPECT_THAT(refusal(), StartsWith(weights() + ": "));
}

TEST_F(HfFolderTest, AHostileHeaderIsRefusedWithFileAndReason) {
  copy("llama");
  const auto file = [](const std::string& header, size_t data_bytes) {
    const uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), 8) + header +
           std::string(data_bytes, '\0');
  };
  const std::string a = R"("a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]})";
  const std::string b = R"("b":{"dtype":"F32","shape":[16],"data_offsets":[32,96]})";
  const std::string far = R"("c":{"dtype":"F32","shape":[16],"data_offsets":[4096,4160]})";
  const std::string wide =
      R"("d":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,64]})";
  const std::string deep = R"("e":)" + std::string(100'000, '[') + std::string(100'000, ']');
  const struct {
    std::string bytes;
    const char* reason;
  } cases[] = {
      {std::string("\0\0\0\0\0\0\0\x80{}", 10),
       "says that its header has 9223372036854775808 bytes"},
      {std::string("\x40\0\0\0\0\0\0\0{}", 10), "says that its header has 64 bytes"},
      {file("{" + a + "," + b + "}", 96), "tensor 'b': starts at byte 32 of the data, expected 64"},
      {file("{" + a + "}", 0), "the tensors take 64 bytes, but the file holds 0 bytes of data"},
      {file("{" + a + "," + far + "}", 128),
       "tensor 'c': starts at byte 4096 of the data, expected 64"},
      {file("{" + a + "," + a + "}", 64), "its header: has 'a' twice"},
      {file("{" + deep + "}", 0), "its header: is nested more than 3 deep"},
      {file("{" + wide + "}", 64), "tensor 'd': has a shape beyond 2^63 bytes"},
      {file("[]", 0), "its header does not start with {"},
  };
  for (const auto& [bytes, reason] : cases) {
    write_text(weights(), bytes);
    EXPECT_THAT(refusal(), StartsWith(weights() + ": " + reason));
  }
}

TEST_F(HfFolderTest, AFolderWithoutSafetensorsIsRefusedWithAHint) {
  copy("llama");
  fs::remove(weights());
  const std::string none = "has neither model.safetensors nor model.safetensors.index.json";
  EXPECT_EQ(refusal(), problem(none));
  write_text(path() / "pytorch_model.bin", "PK");
  EXPECT_EQ(refusal(), problem(none + "; weft does not read pytorch_model.bin"));
}

TEST_F(HfFolderTest, Gpt2LoadsAsItWasPublished) {
  copy("gpt2");
  rename([](const std::string& name) { return name.substr(std::string("transformer.").size()); });
  edit([](auto& tensors) {
    for (const char* layer : {"h.0", "h.1"}) {
      tensors.push_back({std::string(layer) + ".attn.bias", at::ones({1, 1, 16, 16}, at::kByte)});
      tensors.push_back({std::string(layer) + ".attn.masked_bias", at::ones({})});
    }
    tensors.push_back({"lm_head.weight", at::ones({31, 15})});
  });
  expect_values_of("gpt2");
  edit([](auto& tensors) { ASSERT_TRUE(drop(tensors, "h.0.attn.c_attn.bias")); });
  EXPECT_EQ(refusal(), problem("tensor 'transformer.h.0.attn.c_attn.bias' [45] is missing"));
}

TEST_F(HfFolderTest, ATensorUnderBothOfItsNamesIsRefused) {
  copy("gpt2");
  edit([](auto& tensors) { tensors.push_back({"wte.weight", at::ones({31, 15})}); });
  EXPECT_EQ(refusal(), problem("tensor 'wte.weight' is unexpected"));
}

TEST_F(HfFolderTest, MambaLoadsUnderTheNameOfTheOriginalFiles) {
  for (const char* family : {"mamba", "mamba2"}) {
    copy(family);
    rename([](const std::string& name) {
      return name == "backbone.embeddings.weight" ? "backbone.embedding.weight" : name;
    });
    edit([](auto& tensors) { tensors.push_back({"lm_head.weight", at::ones({31, 16})}); });
    expect_values_of(family);
  }
}

TEST_F(HfFolderTest, OpenElmLoadsWithoutThePrefix) {
  copy("openelm");
  rename([](const std::string& name) { return name.substr(std::string("transformer.").size()); });
  expect_values_of("openelm");
}

TEST_F(HfFolderTest, OldRotaryBuffersAreSkipped) {
  copy("llama");
  edit([](auto& tensors) {
    tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", at::ones({2})});
  });
  expect_values_of("llama");
}

TEST_F(HfFolderTest, AHeadBesideATiedEmbeddingIsIgnored) {
  copy("llama");
  Json config = Json::parse(contents(path() / "config.json"));
  config["tie_word_embeddings"] = true;
  write_text(path() / "config.json", config.dump());
  const HfFolder folder = opened(path());
  EXPECT_EQ(folder.table().find("head.weight"), nullptr);
  edit([](auto& tensors) { find(tensors, "lm_head.weight") = at::ones({3}, at::kLong); });
  EXPECT_EQ(refusal(), "");
}

// Deterministic mutations: open accepts or refuses, and what it accepts can be read.
class HfFolderFuzz : public HfFolderTest {
 protected:
  int64_t accepted(const fs::path& file, const std::string& name, uint64_t cases) const {
    const std::string valid = contents(file);
    int64_t accepted = 0;
    for (uint64_t i = 0; i < cases; ++i) {
      const RandomStream stream(i, "fuzz", name);
      std::string text = valid;
      const uint64_t changes = 1 + stream.below(0, 3);
      for (uint64_t change = 1; change <= changes; ++change) mutate(text, stream, change);
      fs::remove(file);
      write_text(file, text);
      const absl::StatusOr<HfFolder> folder = HfFolder::open(path());
      if (!folder.ok()) {
        EXPECT_THAT(std::string(folder.status().message()), StartsWith(path().string())) << text;
        continue;
      }
      ++accepted;
      for (const ParameterSpec& row : folder->table().rows()) {
        folder->read(row, at::empty(row.shape, folder->dtype(row)));
      }
    }
    return accepted;
  }
};

TEST_F(HfFolderFuzz, MutatedConfigsAreRefusedOrReadable) {
  for (const char* family : kFamilies) {
    copy(family);
    constexpr uint64_t kCases = 200;
    const int64_t number = accepted(path() / "config.json", family, kCases);
    EXPECT_GT(number, 0) << family;  // names of members that change nothing
    EXPECT_LT(number, static_cast<int64_t>(kCases / 2)) << family;
  }
}

TEST_F(HfFolderFuzz, MutatedIndexesAreRefusedOrReadable) {
  copy("llama");
  shard();
  constexpr uint64_t kCases = 500;
  const int64_t number = accepted(path() / kIndex, "index", kCases);
  EXPECT_GT(number, 0);
  EXPECT_LT(number, static_cast<int64_t>(kCases / 2));
}

}  // namespace
}  // namespace weft
