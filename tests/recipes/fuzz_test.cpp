// Ten thousand damaged recipes of a fixed seed: whatever the text, loading ends with a recipe or
// with messages, never in a crash, a hang or an exception.
#include <random>

#include <gtest/gtest.h>

#include "recipes/explain.h"
#include "recipes/load.h"
#include "recipes/plan.h"
#include "tests/recipes/broken_recipes.h"

namespace weft {
namespace {

const char* const kPieces[] = {"\n",
                               " ",
                               ":",
                               "-",
                               "- ",
                               "{",
                               "}",
                               "[",
                               "]",
                               ",",
                               "\"",
                               "'",
                               "&a ",
                               "*a",
                               "!!x ",
                               "? ",
                               "#",
                               "|",
                               ">",
                               "%",
                               "@",
                               "\t",
                               "---",
                               "...",
                               "\xFF",
                               "\r",
                               "0",
                               "-1",
                               "1e308",
                               "~",
                               "auto",
                               "<<",
                               "null",
                               "\x01",
                               "\xC3",
                               "\\",
                               "99999999999999999",
                               "extends: r",
                               "  ",
                               "a: &a {b: *a}",
                               "1.5",
                               "true"};

std::string damaged(std::mt19937_64& random) {
  std::string text = kGoodRecipe;
  const size_t edits = 1 + random() % 4;
  for (size_t i = 0; i < edits; ++i) {
    const size_t at = random() % (text.size() + 1);
    const size_t length = random() % 3 == 0 ? random() % 12 : 0;
    text.replace(at, std::min(length, text.size() - at), kPieces[random() % std::size(kPieces)]);
  }
  return text;
}

TEST(RecipeFuzz, DamagedTextGivesARecipeOrMessages) {
  std::mt19937_64 random(7);
  int good = 0, bad = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::string text = damaged(random);
    SCOPED_TRACE(text);
    const auto recipe = parse_recipe(text, "r.yaml");
    if (!recipe.ok()) {
      ++bad;
      ASSERT_EQ(exit_status(recipe.status()), 2);
      ASSERT_EQ(recipe.status().message().substr(0, 6), "r.yaml");
      continue;
    }
    ++good;
    ASSERT_FALSE(describe_plan(*recipe).empty());
    ASSERT_TRUE(parse_recipe(write_recipe(*recipe), "written").ok());
  }
  EXPECT_GT(good, 100);
  EXPECT_GT(bad, 1000);
}

TEST(RecipeFuzz, DamagedSetsGiveARecipeOrMessages) {
  std::mt19937_64 random(8);
  const std::string path = WEFT_SOURCE_DIR "/configs/quickstart.yaml";
  for (int i = 0; i < 1000; ++i) {
    std::string set = "stages.0.schedule.peak=1e-3";
    for (size_t edit = 0; edit <= random() % 3; ++edit) {
      const size_t at = random() % (set.size() + 1);
      set.replace(at, std::min<size_t>(random() % 6, set.size() - at),
                  kPieces[random() % std::size(kPieces)]);
    }
    SCOPED_TRACE(set);
    const auto loaded = load_recipe(path, {set}, Purpose::kValidate);
    ASSERT_EQ(exit_status(loaded.status()), loaded.ok() ? 0 : 2);
  }
}

}  // namespace
}  // namespace weft
