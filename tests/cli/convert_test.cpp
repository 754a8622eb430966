// `weft import` and `weft export` as a user calls them: what they write, and that nothing is left
// of what they refuse or cannot finish.
#include "tests/cli/hf_fixture.h"

namespace weft {
namespace {

using testing::HasSubstr;

// What `weft import` says of the dropout that the gpt2 fixture asks for.
std::string warnings_of(const std::string& family) {
  if (family != "gpt2") return "";
  std::string text;
  for (const char* member : {"attn_pdrop", "resid_pdrop", "embd_pdrop"}) {
    text += std::string("warning: gpt2/config.json: ") + member +
            " is 0.1: weft trains without it; other results do not change\n";
  }
  return text;
}

class Convert : public HfTest {};

TEST_F(Convert, ImportThenExportGivesTheSameTensorsBitForBit) {
  for (const std::string family : kHfFamilies) {
    SCOPED_TRACE(family);
    copy(family);
    const std::string checkpoint = family + "-checkpoint", again = family + "-again";
    expect_done({"import", family, "--out", checkpoint},
                warnings_of(family) + "imported " + family + " into " + checkpoint + "\n");
    Names files = {"huggingface.config.json", "manifest.json", "model-00001-of-00001.safetensors",
                   "model.yaml"};
    if (family != "openelm") files.insert("huggingface.generation_config.json");
    EXPECT_EQ(listed(checkpoint), files);
    expect_done({"export", checkpoint, "--out", again},
                "exported " + checkpoint + " into " + again + "\n");
    EXPECT_EQ(listed(again), (Names{"config.json", "generation_config.json", "model.safetensors"}));
    const std::string before = contents(path(family) / "model.safetensors");
    ASSERT_FALSE(before.empty());
    EXPECT_TRUE(contents(path(again) / "model.safetensors") == before);
    EXPECT_EQ(json_of(again + "/config.json"), json_of(family + "/config.json"));
  }
}

TEST_F(Convert, ExportTakesAFolderAsItIsAndConverts) {
  copy("llama");
  expect_done({"export", "llama", "--out", "half", "--dtype", "bf16"},
              "exported llama into half\n");
  const SafetensorsFile before = opened("llama/model.safetensors");
  const SafetensorsFile after = opened("half/model.safetensors");
  ASSERT_EQ(after.entries().size(), before.entries().size());
  for (const SafetensorsEntry& entry : before.entries()) {
    const SafetensorsEntry* now = after.find(entry.name);
    ASSERT_NE(now, nullptr) << entry.name;
    EXPECT_EQ(now->dtype, at::kBFloat16) << entry.name;
    EXPECT_TRUE(after.read(*now).equal(before.read(entry).to(at::kBFloat16))) << entry.name;
  }
  EXPECT_EQ(json_of("half/config.json")["dtype"], "bfloat16");
}

TEST_F(Convert, ASmallShardSizeMakesFilesWithAnIndex) {
  copy("llama");  // 20 KB
  expect_done({"export", "llama", "--out", "cut", "--shard-gb", "0.000008"},
              "exported llama into cut\n");
  const Json index = json_of("cut/model.safetensors.index.json");
  Names files = {"config.json", "generation_config.json", "model.safetensors.index.json"};
  const SafetensorsFile before = opened("llama/model.safetensors");
  ASSERT_EQ(index["weight_map"].size(), before.entries().size());
  for (const SafetensorsEntry& entry : before.entries()) {
    const std::string name = index["weight_map"].at(entry.name);
    const SafetensorsFile file = opened("cut/" + name);
    const SafetensorsEntry* now = file.find(entry.name);
    ASSERT_NE(now, nullptr) << entry.name;
    EXPECT_TRUE(file.read(*now).equal(before.read(entry))) << entry.name;
    files.insert(name);
  }
  EXPECT_GE(files.size(), 6u);  // three files of tensors at least
  EXPECT_EQ(listed("cut"), files);
}

TEST_F(Convert, AFolderThatIsNotThereIsRefused) {
  expect_refused({"import", "absent", "--out", "new"},
                 "absent: is no Hugging Face folder (it needs config.json)");
  expect_refused({"export", "absent", "--out", "new"}, "absent: does not exist");
  copy("llama");
  expect_refused({"import", "llama", "--out", "ids.json/new"},
                 "ids.json/new.tmp: cannot be made: Not a directory");
}

TEST_F(Convert, AnOutputThatIsThereIsLeftAlone) {
  copy("llama");
  write_text(path("mine") / "file", "text");
  for (const char* command : {"import", "export"}) {
    expect_refused({command, "llama", "--out", "mine"},
                   "mine: exists; give the name of a new folder");
    expect_refused({command, "llama", "--out", "ids.json"},
                   "ids.json: exists; give the name of a new folder");
  }
  EXPECT_EQ(listed("mine"), Names{"file"});
  EXPECT_EQ(contents(path("mine") / "file"), "text");
  write_text(path("new.tmp") / "file", "text");
  for (const char* command : {"import", "export"}) {
    expect_refused({command, "llama", "--out", "new"},
                   "new.tmp: is in the way; if a command that was interrupted has left it, remove "
                   "it");
  }
  EXPECT_EQ(listed("new.tmp"), Names{"file"});
}

TEST_F(Convert, DamagedTensorsAreRefusedByTheirFile) {
  copy("llama");
  const fs::path file = path("llama") / "model.safetensors";
  for (const auto& [damaged, message] : damages(contents(file))) {
    write_text(file, damaged);
    for (const char* command : {"import", "export"}) {
      expect_refused({command, "llama", "--out", "new"}, "llama/model.safetensors: " + message);
    }
  }
}

TEST_F(Convert, ADamagedCheckpointIsNotExported) {
  copy("llama");
  expect_done({"import", "llama", "--out", "checkpoint"}, "imported llama into checkpoint\n");
  const std::string name = "checkpoint/model-00001-of-00001.safetensors";
  std::string bytes = contents(path(name));
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_text(path(name), bytes);
  const Outcome outcome = weft({"export", "checkpoint", "--out", "new"});
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_THAT(outcome.output, HasSubstr(name));
  EXPECT_EQ(listed(), (Names{"checkpoint", "ids.json", "llama"}));
}

TEST_F(Convert, NothingIsLeftWhereTheDiskIsFull) {
  copy("jamba");  // 55 KB
  expect_full({"import", "jamba", "--out", "new"}, 16 << 10,
              "new.tmp/model-00001-of-00001.safetensors");
  expect_full({"export", "jamba", "--out", "new"}, 16 << 10, "new.tmp/model.safetensors");
}

TEST_F(Convert, WordsThatAreNoTypeAreRefused) {
  copy("llama");
  const Outcome outcome = weft({"export", "llama", "--out", "new", "--dtype", "fp8"});
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_THAT(outcome.output, HasSubstr("--dtype: fp8 not in {auto,fp32,bf16,fp16}"));
  EXPECT_FALSE(fs::exists(path("new")));
}

}  // namespace
}  // namespace weft
