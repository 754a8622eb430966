#include "parallel/tensor_store.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "tests/support/damage.h"
#include "tests/support/forked.h"

namespace weft {
namespace {

using testing::HasSubstr;
using Verify = TensorStore::Verify;

Tensor numbers(int64_t n, double first = 0) { return at::arange(first, first + n, at::kFloat); }

class TensorStoreTest : public testing::Test {
 protected:
  // Groups "model" (three files of at most 10,000 bytes) and "optimizer" (one), and two texts.
  TensorStoreTest() {
    TensorStoreWriter writer(folder(), 10'000);
    WEFT_CHECK(writer.add_tensors("model", tensors_).ok(), "model");
    WEFT_CHECK(writer.add_tensors("optimizer", {{"a.m", numbers(7, 0.5)}}).ok(), "optimizer");
    WEFT_CHECK(writer.add_text("recipe.yaml", "name: x\n").ok(), "recipe");
    WEFT_CHECK(writer.add_text("state.json", "{}").ok(), "state");
    WEFT_CHECK(writer.finish().ok(), "manifest");
    bytes_written_ = writer.bytes_written();
  }

  const fs::path& folder() const { return folder_.path(); }
  fs::path manifest() const { return folder() / "manifest.json"; }
  std::string refusal(Verify verify = Verify::kFull) const {
    const absl::Status status = TensorStore::open(folder(), verify).status();
    EXPECT_TRUE(status.ok() || exit_status(status) == 2);
    return std::string(status.message());
  }
  // What opening says with `change` made to the manifest.
  template <class F>
  std::string refusal_after(F change) const {
    const std::string whole = contents(manifest());
    Json json = Json::parse(whole);
    change(json);
    replace_file(manifest(), json.dump());
    const std::string message = refusal();
    replace_file(manifest(), whole);
    return message;
  }

  const std::vector<NamedTensor> tensors_ = {{"a", numbers(2000)},
                                             {"b", numbers(600, 0.5).reshape({20, 30})},
                                             {"c", numbers(2400, -1)},
                                             {"d", numbers(5).to(at::kBFloat16)},
                                             {"e", numbers(1).reshape({})}};
  int64_t bytes_written_ = 0;

 private:
  TemporaryFolder folder_{fast_folder()};
};

TEST_F(TensorStoreTest, GivesBackTensorsAndTexts) {
  const TensorStore store = *TensorStore::open(folder(), Verify::kFull);
  EXPECT_EQ(store.names(), (std::vector<std::string>{"a", "a.m", "b", "c", "d", "e"}));
  for (const NamedTensor& named : tensors_) {
    const Tensor out = at::zeros(named.tensor.sizes(), named.tensor.options());
    ASSERT_TRUE(store.read(named.name, out).ok());
    EXPECT_TRUE(at::equal(out, named.tensor)) << named.name;
  }
  EXPECT_EQ(*store.text("recipe.yaml"), "name: x\n");
  EXPECT_EQ(store.bytes(), bytes_written_);
  EXPECT_TRUE(store.contains("a.m"));
  EXPECT_FALSE(store.contains("f"));
}

TEST_F(TensorStoreTest, CutsFilesBetweenTensorsAtTheLimit) {
  std::map<std::string, std::vector<std::string>> files;
  for (const auto& entry : fs::directory_iterator(folder())) {
    if (entry.path().extension() != ".safetensors") continue;
    const SafetensorsFile file = *SafetensorsFile::open(entry.path());
    for (const SafetensorsEntry& tensor : file.entries()) {
      files[entry.path().filename()].push_back(tensor.name);
    }
  }
  EXPECT_EQ(files, (std::map<std::string, std::vector<std::string>>{
                       {"model-00001-of-00003.safetensors", {"a"}},
                       {"model-00002-of-00003.safetensors", {"b"}},
                       {"model-00003-of-00003.safetensors", {"c", "e", "d"}},
                       {"optimizer-00001-of-00001.safetensors", {"a.m"}}}));
}

TEST_F(TensorStoreTest, ConvertsToTheTypeThatIsWanted) {
  const TensorStore store = *TensorStore::open(folder(), Verify::kSizes);
  const Tensor wide = at::zeros({5}, at::kDouble);
  ASSERT_TRUE(store.read("d", wide).ok());
  EXPECT_TRUE(at::equal(wide, numbers(5).to(at::kDouble)));
}

TEST_F(TensorStoreTest, SaysWhatItHasNot) {
  const TensorStore store = *TensorStore::open(folder(), Verify::kSizes);
  EXPECT_EQ(std::string(store.read("x", numbers(1)).message()),
            folder().string() + ": has no tensor 'x'");
  EXPECT_EQ(std::string(store.read("b", numbers(600)).message()),
            folder().string() + ": tensor 'b' is [20, 30], the model needs [600]");
  EXPECT_EQ(std::string(store.text("x").status().message()),
            folder().string() + ": has no file 'x'");
}

TEST_F(TensorStoreTest, EveryDamageIsNamed) {
  for_each_damage(folder(), [&](const fs::path& file, const std::string& what) {
    if (file == manifest() && what.starts_with("bit")) return;  // the next test
    EXPECT_THAT(refusal(), HasSubstr(file.string())) << what;
    // A length shows without reading the file; a flipped bit may not.
    if (!what.starts_with("bit")) {
      EXPECT_THAT(refusal(Verify::kSizes), HasSubstr(file.string())) << what;
    }
  });
  EXPECT_EQ(refusal(), "");
}

// The manifest has no checksum of its own: what it says is held against the files.
TEST_F(TensorStoreTest, AManifestWithAFlippedBitIsRefusedOrSaysTheSame) {
  const std::string whole = contents(manifest());
  const Json said = Json::parse(whole);
  size_t accepted = 0;
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    replace_file(manifest(), flipped);
    if (!refusal().empty()) continue;
    ++accepted;
    EXPECT_EQ(Json::parse(flipped), said) << "bit " << bit;
  }
  EXPECT_LT(accepted, whole.size());
}

TEST_F(TensorStoreTest, RefusesManifestsThatLie) {
  const std::string first = "model-00001-of-00003.safetensors";
  EXPECT_THAT(refusal_after([](Json& m) { m["format"] = "other"; }),
              HasSubstr("is not a manifest"));
  EXPECT_THAT(refusal_after([](Json& m) { m["version"] = 2; }),
              HasSubstr("another format version, this weft reads 1"));
  EXPECT_THAT(refusal_after([](Json& m) { m.erase("tensors"); }), HasSubstr("is not a manifest"));
  EXPECT_THAT(refusal_after([](Json& m) { m = Json::array(); }), HasSubstr("is not a manifest"));
  EXPECT_THAT(refusal_after([](Json& m) { m["files"]["../x"] = {}; }),
              HasSubstr("file name '../x' leaves the folder"));
  EXPECT_THAT(refusal_after([](Json& m) {
                m["files"][".."] = {{"bytes", 1}, {"xxh3", ""}};
              }),
              HasSubstr("/..: "));
  EXPECT_THAT(refusal_after([&](Json& m) { m["files"][first] = 3; }),
              HasSubstr(first + ": its entry in manifest.json is damaged"));
  EXPECT_THAT(refusal_after([&](Json& m) { m["files"][first]["bytes"] = -1; }),
              HasSubstr(first + ": its entry in manifest.json is damaged"));
  for (const auto& [key, value] : std::map<std::string, Json>{
           {"file", "recipe.yaml"}, {"dtype", "F64"}, {"shape", {1, 2}}, {"shape", "x"}}) {
    EXPECT_THAT(refusal_after([&](Json& m) { m["tensors"]["a"][key] = value; }),
                HasSubstr("tensor 'a' is not in its file with that dtype and shape"));
  }
  EXPECT_THAT(refusal_after([](Json& m) { m["tensors"]["b"] = "x"; }), HasSubstr("tensor 'b'"));
  EXPECT_THAT(refusal_after([](Json& m) { m["tensors"].erase("c"); }),
              HasSubstr("does not list tensor 'c' of model-00003-of-00003.safetensors"));
}

TEST_F(TensorStoreTest, ATensorInTwoFilesIsRefused) {
  const WrittenFile twice =
      *write_safetensors(folder() / "more.safetensors", {{"a", numbers(2000)}}, {});
  EXPECT_THAT(refusal_after([&](Json& m) {
                m["files"][twice.name] = {{"bytes", twice.size}, {"xxh3", hex64(twice.checksum)}};
              }),
              HasSubstr("does not list tensor 'a' of more.safetensors"));
}

TEST_F(TensorStoreTest, AFullDiskIsReportedWithTheFile) {
  const fs::path full = folder() / "full";
  fs::create_directory(full);
  const ChildEnd end = run_forked([&] {
    limit_files(4096, BeyondLimit::kFails);
    TensorStoreWriter writer(full, 10'000);
    const std::string message(writer.add_tensors("model", tensors_).message());
    return message.starts_with((full / "model-00001-of-00003.safetensors").string()) &&
                   message.ends_with("File too large")
               ? 0
               : 1;
  });
  EXPECT_EQ(end.exit_status, 0);
  EXPECT_TRUE(fs::is_empty(full));
}

using TensorStoreDeathTest = TensorStoreTest;

TEST_F(TensorStoreDeathTest, NamesThatRepeatAreProgrammerErrors) {
  TensorStoreWriter writer(folder(), 10'000);
  EXPECT_DEATH((void)writer.add_text("manifest.json", ""), "'manifest.json' is stored twice");
  ASSERT_TRUE(writer.add_tensors("x", {{"a", numbers(1)}}).ok());
  EXPECT_DEATH((void)writer.add_tensors("y", {{"a", numbers(1)}}), "'a' is stored twice");
  EXPECT_DEATH((void)writer.add_tensors("x", {{"b", numbers(1)}}), "is stored twice");
}

}  // namespace
}  // namespace weft
