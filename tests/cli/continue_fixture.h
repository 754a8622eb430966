#pragma once
// A run that goes on from a checkpoint of tests/parity/fixtures, started as a user would.
#include <ATen/ops/equal.h>

#include "base/json.h"
#include "base/safetensors.h"
#include "data/shards.h"
#include "tests/cli/run_fixture.h"
#include "tests/support/llama_model.h"

namespace weft {

inline constexpr char kContinue[] = R"(name: continued
seed: 3
device: cpu
threads: 1
init: {from: huggingface, path: source}
stages:
  - steps: 4
    sequence_length: 12
    batch_tokens: 48
    data:
      tokenizer: {kind: ids, end_id: 2}
      sources: [{path: shards}]
      validation: [{name: held, path: held}]
    schedule: {kind: constant, peak: 1.0e-2}
precision: {compute: fp32}
checkpoint: {every_steps: 1, keep: 9}
logging: {every_steps: 1, tensorboard: false}
)";

// No tokenizer of anybody's: weft carries it along without reading it.
inline constexpr char kTokenizerText[] = "\xff{not read\r\n";

inline SafetensorsFile opened(const fs::path& path) {
  absl::StatusOr<SafetensorsFile> file = SafetensorsFile::open(path);
  WEFT_CHECK(file.ok(), file.status());
  return *std::move(file);
}

inline Json json_of(const fs::path& path) { return Json::parse(contents(path)); }

// Ids 3 to 30.
inline void write_shards(const fs::path& prefix, int documents, int first) {
  auto writer = TokenShardsWriter::create(prefix, 31);
  WEFT_CHECK(writer.ok(), writer.status());
  for (int document = first; document < first + documents; ++document) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 40; ++i) ids.push_back(3 + (i * i + 5 * document) % 28);
    const absl::Status added = writer->add_document(ids);
    WEFT_CHECK(added.ok(), added);
  }
  const absl::Status finished = writer->finish();
  WEFT_CHECK(finished.ok(), finished);
}

class Continue : public RunTest {
 protected:
  void SetUp() override {
    write_shards(folder() / "shards", 12, 0);
    write_shards(folder() / "held", 3, 100);
    write_text(folder() / "continue.yaml", kContinue);
  }

  void copy_fixture(const std::string& family) const {
    const fs::path fixture = fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures" / family;
    fs::create_directory(source());
    for (const char* name : {"config.json", "generation_config.json", "model.safetensors"}) {
      if (fs::exists(fixture / name)) fs::copy(fixture / name, source() / name);
    }
    write_text(source() / "tokenizer.json", kTokenizerText);
  }
  fs::path source() const { return folder() / "source"; }
  fs::path path(const std::string& name) const { return folder() / name; }

  Outcome go_on(std::vector<std::string> more = {}, const std::string& name = "run") const {
    std::vector<std::string> command = {"train", "continue.yaml", "--run-dir", name};
    command.insert(command.end(), more.begin(), more.end());
    return weft(command);
  }
  // One update at a learning rate of 0: the last one of a linear schedule.
  Outcome change_nothing(std::vector<std::string> more = {},
                         const std::string& name = "run") const {
    more.insert(more.end(), {"--set", "stages.0.steps=1", "--set",
                             "stages.0.schedule={kind: linear, peak: 1.0e-2}"});
    return go_on(more, name);
  }

  // A file of the source as an export of the run has it: its documents end with id 2, and where
  // texts of the source end otherwise, this is written.
  static Json with_run_end(Json json) {
    if (!json.contains("eos_token_id") || json["eos_token_id"] != 2) {
      json["bos_token_id"] = json["eos_token_id"] = 2;
    }
    return json;
  }

  // `out` has the tensors, members and files of the source.
  void expect_given_back(const fs::path& out) const {
    const SafetensorsFile before = opened(source() / "model.safetensors");
    const SafetensorsFile after = opened(out / "model.safetensors");
    ASSERT_EQ(after.entries().size(), before.entries().size());
    for (const SafetensorsEntry& entry : before.entries()) {
      const SafetensorsEntry* now = after.find(entry.name);
      ASSERT_NE(now, nullptr) << entry.name;
      EXPECT_EQ(now->dtype, entry.dtype) << entry.name;
      ASSERT_EQ(now->shape, entry.shape) << entry.name;
      EXPECT_TRUE(at::equal(after.read(*now), before.read(entry))) << entry.name;
    }
    EXPECT_EQ(json_of(out / "config.json"), with_run_end(json_of(source() / "config.json")));
    expect_same_files(out);
  }
  void expect_same_files(const fs::path& out) const {
    EXPECT_EQ(contents(out / "tokenizer.json"), kTokenizerText);
    const fs::path before = source() / "generation_config.json";
    if (!fs::exists(before)) return;
    const Json expected = with_run_end(json_of(before));
    EXPECT_EQ(json_of(out / "generation_config.json"), expected);
    if (expected != json_of(before)) return;
    EXPECT_EQ(contents(out / "generation_config.json"), contents(before));
  }
  // The row of metrics with the loss of the validation source.
  nlohmann::json held(const std::string& name = "run") const {
    for (const nlohmann::json& row : metrics(run_dir(name))) {
      if (row.contains("validation.held.loss")) return row;
    }
    return nlohmann::json::object();
  }
};

}  // namespace weft
