// Damaged and hostile files of a Hugging Face checkpoint: refused by name, or readable.
#include <ATen/ops/empty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/models/huggingface_folders.h"
#include "tests/support/mutate.h"

namespace weft {
namespace {

using testing::StartsWith;

TEST_F(HfFolderTest, TwoFilesWithAnIndexAreOneCheckpoint) {
  copy("jamba");
  const std::string single = contents(weights());
  shard();
  expect_values_of("jamba");
  write_text(weights(), single);
  write_text(path() / kHfIndex, "a single file goes first, as transformers has it");
  expect_values_of("jamba");
}

TEST_F(HfFolderTest, AnIndexNamesOnlyFilesOfItsFolder) {
  copy("llama");
  const Json map = shard();
  const std::string index = (path() / kHfIndex).string();
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
  EXPECT_EQ(refusal(), (path() / kHfIndex).string() + ": weight_map.model.norm.weight: is not in " +
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
  fs::remove(weights());
  const std::string index = (path() / kHfIndex).string();
  for (const char* text : {"{}", "[]", R"({"weight_map": []})", R"({"weight_map": null})"}) {
    write_text(path() / kHfIndex, text);
    EXPECT_EQ(refusal(), index + ": weight_map: is missing") << text;
  }
  write_text(path() / kHfIndex, "{\"weight_map\": {\"a\"");
  EXPECT_THAT(refusal(), StartsWith(index + ": is not JSON (byte "));
  write_text(path() / kHfIndex, R"({"weight_map": {"a": "b", "a": "b"}})");
  EXPECT_EQ(refusal(), index + ": has 'a' twice");
  write_text(path() / kHfIndex, R"({"weight_map": {"a": [[1]]}})");
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
  for (const char* family : kHfFamilies) {
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
  const int64_t number = accepted(path() / kHfIndex, "index", kCases);
  EXPECT_GT(number, 0);
  EXPECT_LT(number, static_cast<int64_t>(kCases / 2));
}

}  // namespace
}  // namespace weft
