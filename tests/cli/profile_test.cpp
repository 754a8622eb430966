// weft train --profile.
#include <gmock/gmock.h>

#include "tests/cli/run_fixture.h"

namespace weft {
namespace {

using testing::HasSubstr;
using testing::Not;

using ProfileRun = RunTest;

TEST_F(ProfileRun, PrintsATableAndWritesATrace) {
  const Outcome outcome = train({"--profile"});
  EXPECT_EQ(outcome.exit_status, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("profile of 5 updates, "));
  for (const char* kind : {"matrix products", "attention", "scans", "convolutions", "norms",
                           "elementwise", "loss", "optimizer", "in no operator"}) {
    EXPECT_THAT(outcome.output, HasSubstr(std::string("\n") + kind + "  ")) << kind;
  }
  const nlohmann::json trace = nlohmann::json::parse(contents(run_dir() / "profile.json"));
  EXPECT_GT(trace["traceEvents"].size(), 100U);
  // The run is the one that it is without a profile.
  EXPECT_EQ(train({}, "plain").exit_status, 0);
  expect_same_end("run", "plain");
}

TEST_F(ProfileRun, TakesWhatUpdatesThereAre) {
  const Outcome five = train({"--profile", "--stop-after", "5"});
  EXPECT_EQ(five.exit_status, 3);
  EXPECT_THAT(five.output, HasSubstr("profile of 2 updates, "));
  const Outcome three = train({"--profile", "--stop-after", "8"});
  EXPECT_EQ(three.exit_status, 3);
  EXPECT_THAT(three.output, HasSubstr("warning: no profile: it is taken behind the first 3 "));
  EXPECT_THAT(three.output, Not(HasSubstr("profile of")));
}

}  // namespace
}  // namespace weft
