#include "tests/recipes/broken_recipes.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "recipes/load.h"
#include "tests/support/process.h"

namespace weft {
namespace {

// Runs in a folder of its own, so that messages name files as a user sees them.
class BrokenRecipes : public testing::TestWithParam<BrokenRecipe> {
 protected:
  void SetUp() override {
    before_ = fs::current_path();
    fs::current_path(folder_.path());
  }
  void TearDown() override { fs::current_path(before_); }

 private:
  TemporaryFolder folder_;
  fs::path before_;
};

TEST_P(BrokenRecipes, AreAnsweredWithPlaceAndReason) {
  const BrokenRecipe& broken = GetParam();
  if (broken.name == "NoGpu" && at::hasCUDA()) GTEST_SKIP() << "this machine has a GPU";
  write_broken_recipe(broken, fs::current_path());
  const auto loaded = load_recipe("r.yaml", broken.sets, Purpose::kTrain);
  ASSERT_FALSE(loaded.ok()) << "nothing was found";
  EXPECT_EQ(exit_status(loaded.status()), 2);
  const std::string message(loaded.status().message());
  EXPECT_TRUE(is_expected(broken, message)) << "found:\n"
                                            << message << "\nexpected:\n"
                                            << broken.expected;
}

INSTANTIATE_TEST_SUITE_P(All, BrokenRecipes, testing::ValuesIn(all_broken_recipes()),
                         [](const auto& info) { return info.param.name; });

TEST(BrokenRecipesTable, HoldsAtLeastAHundred) { EXPECT_GE(all_broken_recipes().size(), 100u); }

TEST(BrokenRecipesTable, StartsFromAGoodRecipe) {
  const TemporaryFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  write_broken_recipe({.name = "", .from = "seed", .to = "seed", .expected = ""}, folder.path());
  const auto loaded = load_recipe("r.yaml", {}, Purpose::kTrain);
  fs::current_path(before);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(loaded->warnings.empty());
}

}  // namespace
}  // namespace weft
