#include "recipes/explain.h"

#include <gtest/gtest.h>

#include "tests/support/process.h"

namespace weft {
namespace {

TEST(Explain, OneKeyGivesTypeDefaultAndMeaning) {
  const auto text = explain("optim.eps");
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text,
            "optim.eps  (a number above 0; default 1e-08)\n"
            "    added to the root of the second moment\n");
}

TEST(Explain, AConditionIsNamed) {
  const auto text = explain("stages.schedule.decay_steps");
  ASSERT_TRUE(text.ok());
  EXPECT_NE(text->find("only with kind: wsd"), std::string::npos) << *text;
}

TEST(Explain, IndicesAreLeftOut) {
  const auto with = explain("stages.0.data.sources.1.path"),
             without = explain("stages.data.sources.path");
  ASSERT_TRUE(with.ok());
  EXPECT_EQ(*with, *without);
}

TEST(Explain, AMapGivesAllItsKeys) {
  const auto text = explain("checkpoint");
  ASSERT_TRUE(text.ok());
  for (const char* key : {"checkpoint  (a map)", "checkpoint.every_steps", "checkpoint.keep  ",
                          "checkpoint.keep_every"}) {
    EXPECT_NE(text->find(key), std::string::npos) << key;
  }
  EXPECT_EQ(text->find("logging"), std::string::npos);
}

TEST(Explain, UnknownKeysNameTheNearest) {
  EXPECT_EQ(explain("optim.bettas").status().message(),
            "unknown key 'optim.bettas'; did you mean 'optim.betas'?");
  EXPECT_EQ(explain("betas").status().message(),
            "unknown key 'betas'; did you mean 'optim.betas'?");
  EXPECT_EQ(explain("zzzzzzzz").status().message(),
            "unknown key 'zzzzzzzz'; `weft explain` lists all keys");
  EXPECT_EQ(exit_status(explain("betas").status()), 2);
}

TEST(Explain, TheReferencePageIsUpToDate) {
  EXPECT_EQ(contents(WEFT_SOURCE_DIR "/docs/recipe.md"), recipe_reference())
      << "run: weft explain --markdown > docs/recipe.md";
}

}  // namespace
}  // namespace weft
