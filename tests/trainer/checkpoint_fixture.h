#pragma once
// Checkpoints of a run in a temporary folder, with contents that are functions of the step.
#include <set>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "tests/support/process.h"
#include "trainer/checkpoint.h"

namespace weft {

// 9 KiB of parameters, 18 KiB of moments.
inline CheckpointContents contents_of(int64_t step) {
  const Tensor values = at::arange(2304, at::kFloat) * 0.25 + static_cast<double>(step);
  CheckpointContents result{
      .state = {.step = step, .tokens = 10 * step, .threads = 2, .grad_norm_mean = 0.1},
      .recipe = "name: run\nseed: " + std::to_string(step) + "\n",
      .model = "layers: []\n",
      .tokenizer = "{\"kind\": \"bytes\"}\n",
      .parameters = {{"a", values.slice(0, 0, 2000).reshape({40, 50})},
                     {"b", values.slice(0, 2000)}},
      .optimizer = {}};
  for (const NamedTensor& named : result.parameters) {
    result.optimizer.push_back({named.name + ".m", named.tensor * 2});
    result.optimizer.push_back({named.name + ".v", named.tensor * 3});
  }
  return result;
}

inline void expect_contents(const Checkpoint& checkpoint, int64_t step) {
  const CheckpointContents expected = contents_of(step);
  EXPECT_TRUE(checkpoint.state == expected.state);
  EXPECT_EQ(*checkpoint.store.text(kRecipeFile), expected.recipe);
  EXPECT_EQ(*checkpoint.store.text(kModelFile), expected.model);
  EXPECT_EQ(*checkpoint.store.text(kTokenizerFile), expected.tokenizer);
  for (const auto& group : {expected.parameters, expected.optimizer}) {
    for (const NamedTensor& named : group) {
      const Tensor out = at::zeros_like(named.tensor);
      ASSERT_TRUE(checkpoint.store.read(named.name, out).ok());
      EXPECT_TRUE(at::equal(out, named.tensor)) << named.name;
    }
  }
  EXPECT_EQ(checkpoint.store.names().size(),
            expected.parameters.size() + expected.optimizer.size());
}

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() : log_(Log::Echo::kNo) { log_.attach(log_file().string()); }

  const fs::path& run_dir() const { return temporary_.path(); }
  fs::path path() const { return run_dir() / "checkpoints"; }
  fs::path log_file() const { return run_dir() / "log.0.txt"; }
  CheckpointFolder checkpoints() const { return CheckpointFolder(path()); }
  Log& log() { return log_; }

  static std::string folder_name(int64_t step) {
    const std::string digits = std::to_string(step);
    return "step-" + std::string(8 - digits.size(), '0') + digits;
  }
  fs::path folder(int64_t step) const { return path() / folder_name(step); }
  void save(int64_t step, Retention retention = {}) const {
    const absl::Status status = checkpoints().save(contents_of(step), retention);
    ASSERT_TRUE(status.ok()) << status;
  }
  // The newest whole checkpoint has the contents of `step`.
  void expect_latest(int64_t step) {
    const auto latest = checkpoints().find_latest(log_);
    ASSERT_TRUE(latest.ok()) << latest.status();
    ASSERT_TRUE(latest->has_value());
    ASSERT_EQ((*latest)->state.step, step);
    expect_contents(**latest, step);
  }
  // Names in the folder of checkpoints, sorted.
  std::vector<std::string> names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(path())) names.insert(entry.path().filename());
    return {names.begin(), names.end()};
  }

 private:
  TemporaryFolder temporary_{fast_folder()};
  Log log_;
};

}  // namespace weft
