// Hugging Face folders in and out again: the same tensors bit for bit, and whole folders or none.
#include "trainer/convert.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/forked.h"
#include "tests/support/process.h"
#include "trainer/model_source.h"

namespace weft {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kFamilies[] = {"gpt2",   "jamba",   "llama",  "mamba",
                                     "mamba2", "mixtral", "openelm"};

fs::path fixture(const std::string& family) {
  return fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures" / family;
}

Json json_of(const fs::path& path) { return Json::parse(contents(path)); }

SafetensorsFile opened(const fs::path& path) {
  absl::StatusOr<SafetensorsFile> file = SafetensorsFile::open(path);
  WEFT_CHECK(file.ok(), file.status());
  return *std::move(file);
}

class ConvertTest : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }
  fs::path source() const { return path("source"); }
  fs::path imported() const { return path("imported"); }
  fs::path exported() const { return path("exported"); }

  void copy(const std::string& family) const {
    fs::remove_all(source());
    fs::create_directory(source());
    for (const char* name : {"config.json", "generation_config.json", "model.safetensors"}) {
      if (fs::exists(fixture(family) / name)) fs::copy(fixture(family) / name, source() / name);
    }
  }
  // A copy whose tensors have the types that `type_of` gives for their names.
  template <class F>
  void copy_as(const std::string& family, const char* dtype, const F& type_of) const {
    copy(family);
    const SafetensorsFile file = opened(fixture(family) / "model.safetensors");
    std::vector<NamedTensor> tensors;
    for (const SafetensorsEntry& entry : file.entries()) {
      tensors.push_back({entry.name, file.read(entry).to(type_of(entry.name))});
    }
    fs::remove(source() / "model.safetensors");
    ASSERT_TRUE(
        write_safetensors(source() / "model.safetensors", tensors, {{"format", "pt"}}).ok());
    Json config = json_of(source() / "config.json");
    config[config.contains("dtype") ? "dtype" : "torch_dtype"] = dtype;
    fs::remove(source() / "config.json");
    write_text(source() / "config.json", config.dump());
  }

  absl::Status import_source() { return import_checkpoint(source(), imported(), log_); }
  absl::Status export_imported(const ExportOptions& options = {}) {
    return export_checkpoint(imported(), exported(), options, log_);
  }
  // Imports the source and exports it again.
  void expect_round_trip(const std::string& what) {
    fs::remove_all(imported());
    fs::remove_all(exported());
    ASSERT_EQ(import_source(), absl::OkStatus()) << what;
    ASSERT_EQ(export_imported(), absl::OkStatus()) << what;
    expect_same_tensors(what);
    EXPECT_EQ(json_of(exported() / "config.json"), json_of(source() / "config.json")) << what;
  }
  void expect_same_tensors(const std::string& what) const {
    const SafetensorsFile before = opened(source() / "model.safetensors");
    const SafetensorsFile after = opened(exported() / "model.safetensors");
    EXPECT_EQ(after.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
    ASSERT_EQ(after.entries().size(), before.entries().size()) << what;
    for (const SafetensorsEntry& entry : before.entries()) {
      const SafetensorsEntry* now = after.find(entry.name);
      ASSERT_NE(now, nullptr) << what << " " << entry.name;
      EXPECT_EQ(now->dtype, entry.dtype) << what << " " << entry.name;
      EXPECT_EQ(now->shape, entry.shape) << what << " " << entry.name;
      const auto ours = after.bytes(*now), theirs = before.bytes(entry);
      EXPECT_TRUE(std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end()))
          << what << " " << entry.name;
    }
  }
  std::set<std::string> listed() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      names.insert(entry.path().filename().string());
    }
    return names;
  }

  Log log_{Log::Echo::kNo};

 private:
  TemporaryFolder folder_{fast_folder()};
};

TEST_F(ConvertTest, ImportThenExportGivesTheSameTensorsAndMembers) {
  for (const char* family : kFamilies) {
    copy(family);
    expect_round_trip(family);
    // The bytes of the reference's own writer.
    EXPECT_EQ(contents(exported() / "model.safetensors"), contents(source() / "model.safetensors"))
        << family;
  }
}

TEST_F(ConvertTest, SixteenBitTensorsStayAsTheyAre) {
  for (const char* family : kFamilies) {
    copy_as(family, "bfloat16", [](const std::string&) { return at::kBFloat16; });
    expect_round_trip(family);
    copy_as(family, "float16", [](const std::string&) { return at::kHalf; });
    expect_round_trip(family);
  }
}

TEST_F(ConvertTest, EveryTensorKeepsItsOwnType) {
  copy_as("mamba", "bfloat16", [](const std::string& name) {
    const bool wide = name.ends_with(".A_log") || name.ends_with(".D");
    return wide ? at::kFloat : name.ends_with("norm.weight") ? at::kDouble : at::kBFloat16;
  });
  expect_round_trip("mamba");
}

TEST_F(ConvertTest, ExportTakesAFolderAsItIs) {
  copy("mixtral");
  ASSERT_EQ(export_checkpoint(source(), exported(), {}, log_), absl::OkStatus());
  expect_same_tensors("mixtral");
}

TEST_F(ConvertTest, ExportConvertsToTheTypeThatIsAskedFor) {
  copy("jamba");
  ASSERT_EQ(import_source(), absl::OkStatus());
  ASSERT_EQ(export_imported({.dtype = at::kBFloat16}), absl::OkStatus());
  const SafetensorsFile before = opened(source() / "model.safetensors");
  const SafetensorsFile after = opened(exported() / "model.safetensors");
  ASSERT_EQ(after.entries().size(), before.entries().size());
  for (const SafetensorsEntry& entry : before.entries()) {
    const Tensor now = after.read(*after.find(entry.name));
    EXPECT_EQ(now.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(at::equal(now, before.read(entry).to(at::kBFloat16))) << entry.name;
  }
  Json expected = json_of(source() / "config.json");
  expected["dtype"] = "bfloat16";
  EXPECT_EQ(json_of(exported() / "config.json"), expected);
}

TEST_F(ConvertTest, ATinyLimitMakesSeveralFilesWithAnIndex) {
  copy("jamba");
  ASSERT_EQ(import_source(), absl::OkStatus());
  constexpr int64_t kLimit = 8000;  // the largest tensor has 4096 bytes
  ASSERT_EQ(export_imported({.dtype = {}, .shard_bytes = kLimit}), absl::OkStatus());
  EXPECT_FALSE(fs::exists(exported() / "model.safetensors"));
  const Json index = json_of(exported() / "model.safetensors.index.json");
  std::map<std::string, int64_t> bytes;  // of each file's tensors
  int64_t total = 0;
  const SafetensorsFile before = opened(source() / "model.safetensors");
  ASSERT_EQ(index["weight_map"].size(), before.entries().size());
  for (const SafetensorsEntry& entry : before.entries()) {
    const std::string file = index["weight_map"].at(entry.name);
    EXPECT_NE(opened(exported() / file).find(entry.name), nullptr);
    bytes[file] += entry.end - entry.begin;
    total += entry.end - entry.begin;
  }
  EXPECT_EQ(index["metadata"]["total_size"], total);
  ASSERT_GT(bytes.size(), 5u);
  int number = 0;
  for (const auto& [file, size] : bytes) {
    char expected[64];
    std::snprintf(expected, sizeof expected, "model-%05d-of-%05d.safetensors", ++number,
                  static_cast<int>(bytes.size()));
    EXPECT_EQ(file, expected);
    EXPECT_LE(size, kLimit);
  }
  const auto whole = HfFolder::open(source()), cut = HfFolder::open(exported());
  ASSERT_TRUE(cut.ok()) << cut.status();
  for (const ParameterSpec& row : whole->table().rows()) {
    const Tensor a = at::empty(row.shape, at::kFloat), b = at::empty(row.shape, at::kFloat);
    whole->read(row, a);
    cut->read(row, b);
    EXPECT_TRUE(at::equal(a, b)) << row.name;
  }
}

TEST_F(ConvertTest, ATensorBeyondTheLimitHasAFileOfItsOwn) {
  copy("llama");
  ASSERT_EQ(export_checkpoint(source(), exported(), {.dtype = {}, .shard_bytes = 1}, log_),
            absl::OkStatus());
  const Json index = json_of(exported() / "model.safetensors.index.json");
  std::set<std::string> files;
  for (const auto& [name, file] : index["weight_map"].items()) files.insert(file);
  EXPECT_EQ(files.size(), 21u);
  EXPECT_TRUE(HfFolder::open(exported()).ok());
}

TEST_F(ConvertTest, FilesBesideTheWeightsSurviveByteByByte) {
  copy("llama");
  const std::string odd("\0\xff\r\n{\"a\": Infinity}", 20);
  const std::map<std::string, std::string> files = {{"tokenizer.json", odd},
                                                    {"tokenizer.model", odd + odd},
                                                    {"merges.txt", ""},
                                                    {"generation_config.json", "{ }"},
                                                    {"chat_template.jinja", "{{ x }}"}};
  for (const auto& [name, text] : files) {
    fs::remove(source() / name);
    write_text(source() / name, text);
  }
  write_text(source() / "training_args.bin", "of no use here");
  ASSERT_EQ(import_source(), absl::OkStatus());
  ASSERT_EQ(export_imported(), absl::OkStatus());
  for (const auto& [name, text] : files) EXPECT_EQ(contents(exported() / name), text) << name;
  EXPECT_FALSE(fs::exists(exported() / "training_args.bin"));
  const auto opened = ModelSource::open(imported(), log_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(*opened->companions(), files);
  EXPECT_THAT(opened->tokenizer_file(), HasSubstr("tokenizer.json"));
}

TEST_F(ConvertTest, GenerationConfigIsMadeWhereThereIsNone) {
  copy("llama");
  fs::remove(source() / "generation_config.json");
  ASSERT_EQ(export_checkpoint(source(), exported(), {}, log_), absl::OkStatus());
  EXPECT_EQ(json_of(exported() / "generation_config.json"),
            (Json{{"_from_model_config", true}, {"bos_token_id", 1}, {"eos_token_id", 2}}));
}

TEST_F(ConvertTest, AnImportedCheckpointKnowsWhereItComesFrom) {
  copy("mamba2");
  EXPECT_FALSE(is_imported(source()));
  ASSERT_EQ(import_source(), absl::OkStatus());
  EXPECT_TRUE(is_imported(imported()));
  EXPECT_FALSE(is_hf_folder(imported()));
  const auto opened = ModelSource::open(imported(), log_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->hf_config(), json_of(source() / "config.json"));
  EXPECT_EQ(opened->recipe(), nullptr);
  EXPECT_EQ(opened->step(), 0);
  EXPECT_EQ(opened->model().family, Family::kMamba2);
}

TEST_F(ConvertTest, AnEmptyNameIsNoFolder) {
  copy("llama");
  ASSERT_EQ(import_source(), absl::OkStatus());
  for (const absl::Status& status :
       {export_checkpoint(imported(), "", {}, log_), import_checkpoint(source(), "", log_)}) {
    EXPECT_EQ(status.message(), "the name of a new folder is empty");
    EXPECT_EQ(exit_status(status), 2);
  }
}

TEST_F(ConvertTest, AFolderThatExistsIsLeftAlone) {
  copy("llama");
  ASSERT_EQ(import_source(), absl::OkStatus());
  for (const fs::path& kept : {path("kept"), path("empty")}) {
    fs::create_directory(kept);
    if (kept.filename() == "kept") write_text(kept / "file", "mine");
    const std::string message = kept.string() + ": exists; give the name of a new folder";
    const absl::Status exporting = export_checkpoint(imported(), kept, {}, log_);
    EXPECT_EQ(exporting.message(), message);
    EXPECT_EQ(exit_status(exporting), 2);
    EXPECT_EQ(import_checkpoint(source(), kept, log_).message(), message);
  }
  EXPECT_EQ(contents(path("kept") / "file"), "mine");
  EXPECT_TRUE(fs::is_empty(path("empty")));
  EXPECT_EQ(listed(), (std::set<std::string>{"source", "imported", "kept", "empty"}));
}

TEST_F(ConvertTest, NothingIsLeftWhereTheFolderCannotBeMade) {
  copy("llama");
  write_text(path("file"), "no folder");
  const fs::path out = path("file") / "out";
  EXPECT_THAT(std::string(import_checkpoint(source(), out, log_).message()),
              StartsWith(out.string()));
  EXPECT_THAT(std::string(export_checkpoint(source(), out, {}, log_).message()),
              StartsWith(out.string()));
  EXPECT_EQ(listed(), (std::set<std::string>{"source", "file"}));
}

// Files end at 16 KiB, as on a full disk: the texts fit, the tensors do not.
TEST_F(ConvertTest, NothingIsLeftOfAFolderThatWasNotFinished) {
  copy("jamba");
  ASSERT_EQ(import_source(), absl::OkStatus());
  const ChildEnd end = run_forked([&] {
    limit_files(16 << 10, BeyondLimit::kFails);
    const absl::Status exporting = export_imported();
    const absl::Status importing = import_checkpoint(source(), path("again"), log_);
    const auto names = [](const absl::Status& status, const fs::path& folder) {
      return std::string(status.message()).starts_with(folder.string());
    };
    const bool named = names(exporting, exported()) && names(importing, path("again"));
    return exit_status(exporting) == 1 && exit_status(importing) == 1 && named ? 0 : 1;
  });
  EXPECT_EQ(end.exit_status, 0);
  EXPECT_EQ(listed(), (std::set<std::string>{"source", "imported"}));
}

TEST_F(ConvertTest, WhatIsInTheWayOfItsTemporaryFolderIsLeftAlone) {
  copy("llama");
  write_text(path("exported.tmp") / "mine", "text");
  const absl::Status status = export_checkpoint(source(), exported(), {}, log_);
  EXPECT_EQ(exit_status(status), 2);
  EXPECT_TRUE(
      std::string(status.message()).starts_with(path("exported.tmp").string() + ": is in the way"))
      << status;
  EXPECT_EQ(contents(path("exported.tmp") / "mine"), "text");
  EXPECT_EQ(listed(), (std::set<std::string>{"source", "exported.tmp"}));
}

TEST_F(ConvertTest, ImportRefusesAFolderThatIsNone) {
  fs::create_directory(source());
  for (const fs::path& folder : {source(), path("absent")}) {
    const absl::Status status = import_checkpoint(folder, imported(), log_);
    EXPECT_EQ(status.message(),
              folder.string() + ": is no Hugging Face folder (it needs config.json)");
    EXPECT_EQ(exit_status(status), 2);
  }
  copy("llama");
  ASSERT_EQ(import_source(), absl::OkStatus());
  EXPECT_EQ(import_checkpoint(imported(), path("again"), log_).message(),
            imported().string() + ": is no Hugging Face folder (it needs config.json)");
  EXPECT_EQ(listed(), (std::set<std::string>{"source", "imported"}));
}

TEST_F(ConvertTest, ImportRefusesWhatDoesNotFitAndLeavesNothing) {
  copy("llama");
  fs::remove(source() / "config.json");
  fs::copy(fixture("mamba") / "config.json", source() / "config.json");
  EXPECT_EQ(exit_status(import_source()), 2);
  EXPECT_EQ(listed(), std::set<std::string>{"source"});
}

TEST_F(ConvertTest, AByteChangedInAnImportedCheckpointIsNoticed) {
  copy("llama");
  write_text(source() / "tokenizer.json", "{}");
  ASSERT_EQ(import_source(), absl::OkStatus());
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(imported())) {
    if (entry.path().filename() != "manifest.json") files.insert(entry.path().filename());
  }
  ASSERT_TRUE(files.contains("huggingface.config.json"));
  ASSERT_TRUE(files.contains("huggingface.tokenizer.json"));
  for (const std::string& name : files) {
    const fs::path file = imported() / name;
    const std::string whole = contents(file);
    for (const size_t at : {size_t{0}, whole.size() / 2, whole.size() - 1}) {
      std::string other = whole;
      other[at] = static_cast<char>(other[at] ^ 1);
      write_text(file, other);
      const absl::Status status = ModelSource::open(imported(), log_).status();
      EXPECT_EQ(exit_status(status), 2) << name << " byte " << at;
      EXPECT_THAT(std::string(status.message()), StartsWith(file.string()));
    }
    write_text(file, whole);
  }
  EXPECT_TRUE(ModelSource::open(imported(), log_).ok());
}

}  // namespace
}  // namespace weft
