#pragma once
// A tiny run in a folder of its own, started through the program as a user would.
#include <map>
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/process.h"

namespace weft {

class RunTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string text;
    for (int i = 0; i < 600; ++i) text += "line " + std::to_string(i * i % 97) + " of the tale\n";
    write_text(folder() / "train" / "a.txt", text);
    write_text(folder() / "train" / "b.txt",
               "A second, shorter document.\n" + text.substr(0, 3000));
    write_text(folder() / "valid" / "c.txt", text.substr(5000, 2500));
    write_text(folder() / "tiny.yaml", kRecipe);
  }

  // steps 12, a checkpoint every 3 updates.
  static constexpr char kRecipe[] = R"(name: tiny
seed: 5
device: cpu
threads: 1
model:
  family: jamba
  hidden_size: 32
  num_layers: 2
  num_heads: 2
  moe: {num_experts: 3, top_k: 2}
  layout: {attention_period: 2, attention_offset: 1}
stages:
  - steps: 12
    sequence_length: 48
    batch_tokens: 384
    micro_batch_tokens: 192
    data:
      sources: [{path: train}]
      validation: [{name: held, path: valid}]
    schedule: {kind: wsd, peak: 1.0e-2, warmup_steps: 2, decay_steps: 4}
precision: {compute: fp32}
validation: {every_steps: 4}
checkpoint: {every_steps: 3, keep: 2}
logging: {every_steps: 1}
)";

  const fs::path& folder() const { return temporary_.path(); }
  fs::path run_dir(const std::string& name = "run") const { return folder() / name; }
  fs::path checkpoint(int step, const std::string& name = "run") const {
    char text[32];
    std::snprintf(text, sizeof text, "step-%08d", step);
    return run_dir(name) / "checkpoints" / text;
  }

  std::vector<std::string> train_command(std::vector<std::string> more = {},
                                         const std::string& name = "run") const {
    std::vector<std::string> command = {WEFT_BINARY_DIR "/weft", "train", "tiny.yaml", "--run-dir",
                                        name};
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }
  ProcessOptions options() const {
    ProcessOptions result;
    result.folder = folder();
    result.environment = {"WEFT_CACHE=" + (folder() / "cache").string()};
    return result;
  }
  Outcome train(std::vector<std::string> more = {}, const std::string& name = "run") const {
    return Process(train_command(std::move(more), name), options()).wait();
  }
  Outcome weft(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), WEFT_BINARY_DIR "/weft");
    return Process(arguments, options()).wait();
  }

  // The tensors of a checkpoint, file by file.
  static std::map<std::string, std::string> tensor_files(const fs::path& checkpoint) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(checkpoint)) {
      if (entry.path().extension() == ".safetensors") {
        files[entry.path().filename()] = contents(entry.path());
      }
    }
    return files;
  }

  // metrics.jsonl without what depends on the clock and the machine.
  static std::vector<nlohmann::json> metrics(const fs::path& run_dir) {
    std::vector<nlohmann::json> rows;
    std::istringstream lines(contents(run_dir / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      nlohmann::json row = nlohmann::json::parse(line);
      for (const char* key :
           {"step_ms", "tokens_per_s", "model_flops_per_s", "peak_share", "memory_bytes"}) {
        row.erase(key);
      }
      rows.push_back(std::move(row));
    }
    return rows;
  }

  void expect_same_end(const std::string& name, const std::string& reference) const {
    const auto expected = tensor_files(checkpoint(12, reference));
    const auto actual = tensor_files(checkpoint(12, name));
    ASSERT_FALSE(expected.empty());
    ASSERT_EQ(actual.size(), expected.size());
    for (const auto& [file, bytes] : expected) {
      EXPECT_TRUE(actual.at(file) == bytes) << name << ": " << file << " differs";
    }
    EXPECT_EQ(metrics(run_dir(name)), metrics(run_dir(reference))) << name;
  }

 private:
  TemporaryFolder temporary_;
};

}  // namespace weft
