// The broken recipes, given to the program as a user would: each ends with status 2 and its message
// alone, leaves no run directory behind and needs little memory.
#include "tests/recipes/broken_recipes.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "tests/support/process.h"

namespace weft {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr int64_t kMostKib = INT64_MAX;  // the sanitizer's shadow memory counts too
#else
constexpr int64_t kMostKib = 300 * 1024;
#endif

class BrokenRecipesCommand : public testing::TestWithParam<BrokenRecipe> {};

TEST_P(BrokenRecipesCommand, EndsWithStatus2AndLeavesNothing) {
  const BrokenRecipe& broken = GetParam();
  if (broken.name == "NoGpu" && at::hasCUDA()) GTEST_SKIP() << "this machine has a GPU";
  const TemporaryFolder folder;
  write_broken_recipe(broken, folder.path());
  std::vector<std::string> command = {WEFT_BINARY_DIR "/weft", "train", "r.yaml"};
  for (const std::string& set : broken.sets) {
    command.push_back("--set");
    command.push_back(set);
  }
  ProcessOptions options;
  options.folder = folder.path();
  const Outcome outcome = Process(command, options).wait();
  EXPECT_EQ(outcome.exit_status, 2) << "signal " << outcome.signal;
  const std::string message = outcome.output.substr(0, outcome.output.rfind('\n'));
  EXPECT_TRUE(is_expected(broken, message)) << "found:\n"
                                            << message << "\nexpected:\n"
                                            << broken.expected;
  EXPECT_FALSE(fs::exists(folder.path() / "runs"));
  EXPECT_LT(outcome.peak_kib, kMostKib);
}

INSTANTIATE_TEST_SUITE_P(All, BrokenRecipesCommand, testing::ValuesIn(all_broken_recipes()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace weft
