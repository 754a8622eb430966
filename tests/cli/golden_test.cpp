// The first losses of the shipped recipes, on the real corpus: fp32, one thread, 1e-4 relative.
// After an intended change of the numbers, WEFT_UPDATE_GOLDEN=1 writes them anew; the commit says
// why.
#include <cmath>
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/process.h"

namespace weft {
namespace {

constexpr double kRelative = 1e-4;  // another processor's matrix products, over ten updates

class Golden : public testing::TestWithParam<const char*> {};

std::vector<double> losses_of(const fs::path& metrics) {
  std::vector<double> losses;
  std::istringstream lines(contents(metrics));
  for (std::string line; std::getline(lines, line);) {
    const auto row = nlohmann::json::parse(line);
    if (row.contains("loss")) losses.push_back(row["loss"]);
  }
  return losses;
}

TEST_P(Golden, FirstTenLosses) {
  const fs::path source = WEFT_SOURCE_DIR;
  ASSERT_TRUE(fs::exists(source / "corpus" / "MANIFEST"))
      << "the corpus is missing: run scripts/corpus --only shakespeare";
  const TemporaryFolder folder;
  fs::create_directory_symlink(source / "corpus", folder.path() / "corpus");
  ProcessOptions options;
  options.folder = folder.path();
  options.environment = {"WEFT_CACHE=" + (folder.path() / "cache").string()};
  const Outcome outcome =
      Process({WEFT_BINARY_DIR "/weft", "train",
               (source / "configs" / (GetParam() + std::string(".yaml"))), "--run-dir", "run",
               "--stop-after", "10", "--set", "device=cpu", "--set", "threads=1", "--set",
               "precision.compute=fp32", "--set", "logging.every_steps=1"},
              options)
          .wait();
  ASSERT_EQ(outcome.exit_status, 3) << outcome.output;
  const std::vector<double> losses = losses_of(folder.path() / "run" / "metrics.jsonl");
  ASSERT_EQ(losses.size(), 10u) << outcome.output;

  const fs::path golden = source / "tests" / "golden" / (GetParam() + std::string(".json"));
  if (std::getenv("WEFT_UPDATE_GOLDEN") != nullptr) {
    write_text(golden, nlohmann::json(losses).dump(1) + "\n");
  }
  const std::vector<double> expected = nlohmann::json::parse(contents(golden));
  ASSERT_EQ(expected.size(), losses.size());
  for (size_t i = 0; i < losses.size(); ++i) {
    EXPECT_NEAR(losses[i], expected[i], kRelative * expected[i]) << "update " << i + 1;
  }
}

INSTANTIATE_TEST_SUITE_P(Recipes, Golden, testing::Values("quickstart"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace weft
