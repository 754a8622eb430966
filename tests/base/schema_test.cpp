#include "base/schema.h"

#include <cmath>

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(Check, AcceptsUpToItsBoundsAndSaysWhatIsAllowed) {
  EXPECT_EQ(at_least(1).refuse(1), "");
  EXPECT_EQ(at_least(1).refuse(0.5), "is 0.5, must be at least 1");
  EXPECT_EQ(above(0).refuse(1e-300), "");
  EXPECT_EQ(above(0).refuse(0), "is 0, must be above 0");
  EXPECT_EQ(within(0, 1).refuse(1), "");
  EXPECT_EQ(within(0, 1).refuse(1.5), "is 1.5, must be from 0 to 1");
  EXPECT_EQ(any().refuse(-1e300), "");
}

TEST(Check, NeverAcceptsWhatIsNotFinite) {
  EXPECT_EQ(any().refuse(INFINITY), "is inf, must be finite");
  EXPECT_NE(at_least(0).refuse(NAN), "");
}

TEST(Check, NotEmptyConcernsTextsAndLists) {
  EXPECT_EQ(not_empty().refuse(std::string()), "must not be empty");
  EXPECT_EQ(not_empty().refuse_size(0), "must have at least one entry");
  EXPECT_EQ(not_empty().refuse(std::string("x")), "");
  EXPECT_EQ(any().refuse_size(0), "");
}

TEST(Problems, PutThemselvesUnderTheKeysTheyAreIn) {
  Problems problems;
  EXPECT_FALSE(problems.has_errors());
  {
    const auto stage = problems.enter("stages", 2);
    const auto schedule = problems.enter("schedule");
    problems.warn("peak", "is high");
    EXPECT_FALSE(problems.has_errors());
    problems.add("kind", "must be one of these");
  }
  problems.add("seed", "must be at least 0");
  EXPECT_TRUE(problems.has_errors());
  EXPECT_EQ(problems.all().size(), 3u);
  EXPECT_EQ(problems.all()[1].path, "stages.2.schedule.kind");
  EXPECT_EQ(problems.all()[2].path, "seed");
  EXPECT_EQ(problems.all()[0].severity, Problems::Severity::kWarning);
}

TEST(NearestWord, IsALikelySlipOrNothing) {
  const std::vector<std::string> known = {"weight_decay", "clip_norm", "kind"};
  EXPECT_EQ(nearest_word("weigth_decay", known), "weight_decay");
  EXPECT_EQ(nearest_word("kin", known), "kind");
  EXPECT_EQ(nearest_word("momentum", known), "");
  EXPECT_EQ(nearest_word("x", {}), "");
}

TEST(OrWord, HoldsAValueOrItsWord) {
  const Auto<int64_t> automatic;
  EXPECT_FALSE(automatic.has_value());
  EXPECT_EQ(automatic.value_or(3), 3);
  EXPECT_STREQ(automatic.word(), "auto");
  EXPECT_EQ(*Auto<int64_t>(5), 5);
  EXPECT_FALSE(automatic == Auto<int64_t>(3));
}

}  // namespace
}  // namespace weft
