#include "trainer/describe_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/process.h"

namespace weft {
namespace {

TEST(DescribeMetrics, HasTheLastFiguresOfTrainingAndOfEachSource) {
  EXPECT_EQ(describe_metrics(R"({"step":1,"loss":5.5}
{"step":2,"validation.a.loss":4.0,"validation.a.bits_per_byte":5.0}
{"step":2,"validation.b.loss":4.5}
{"step":3,"loss":2.5,"moe.1.max_load":1.25,"grad_norm":null}
{"step":4,"validation.a.loss":3.0,"validation.a.bits_per_byte":4.0}
)"),
            "last metrics:\n"
            "  step=3 loss=2.5\n"
            "last validation:\n"
            "  step=2 validation.b.loss=4.5\n"
            "  step=4 validation.a.loss=3 validation.a.bits_per_byte=4\n");
}

TEST(DescribeMetrics, PassesOverWhatIsNoRow) {
  EXPECT_EQ(describe_metrics(""), "");
  EXPECT_EQ(describe_metrics("{\"step\":1,\"loss\":5.5}\n[1]\nnonsense\n{\"step\":2,\"lo"),
            "last metrics:\n  step=1 loss=5.5\n");
}

TEST(DescribeRun, SaysWhereThereIsNothingToDescribe) {
  const TemporaryFolder folder;
  Log log(Log::Echo::kNo);
  const absl::Status empty = describe_run(folder.path(), log).status();
  EXPECT_EQ(exit_status(empty), 2);
  EXPECT_THAT(std::string(empty.message()), testing::HasSubstr("holds no checkpoint"));
  const absl::Status absent = describe_run(folder.path() / "absent", log).status();
  EXPECT_THAT(std::string(absent.message()), testing::HasSubstr("does not exist"));
}

TEST(DescribeRun, ARecipeThatDoesNotReadIsNamed) {
  const TemporaryFolder folder;
  write_text(folder.path() / "recipe.yaml", "seed: [\n");
  Log log(Log::Echo::kNo);
  const absl::Status status = describe_run(folder.path(), log).status();
  EXPECT_EQ(exit_status(status), 2);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("recipe.yaml"));
}

}  // namespace
}  // namespace weft
