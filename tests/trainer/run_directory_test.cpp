#include "trainer/run_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/process.h"

namespace weft {
namespace {

using testing::HasSubstr;

class RunDirectoryTest : public testing::Test {
 protected:
  fs::path path() const { return folder_.path() / "runs" / "x"; }
  RunDirectory open() const { return *RunDirectory::open(path()); }
  // metrics.jsonl cut back to `step`, starting from `text`.
  std::string cut(const std::string& text, int64_t step) const {
    const RunDirectory directory = open();
    write_text(directory.metrics_file(), text);
    EXPECT_TRUE(directory.cut_metrics(step).ok());
    return contents(directory.metrics_file());
  }

 private:
  TemporaryFolder folder_{fast_folder()};
};

TEST_F(RunDirectoryTest, IsMadeAndHeldByOne) {
  {
    const RunDirectory directory = open();
    EXPECT_TRUE(fs::is_directory(path()));
    const absl::Status second = RunDirectory::open(path()).status();
    EXPECT_EQ(exit_status(second), 2);
    EXPECT_THAT(std::string(second.message()), HasSubstr("is locked by process "));
  }
  EXPECT_TRUE(RunDirectory::open(path()).ok());
}

TEST_F(RunDirectoryTest, APathThatIsAFileIsRefusedByName) {
  write_text(path(), "x");
  const absl::Status status = RunDirectory::open(path()).status();
  EXPECT_EQ(exit_status(status), 2);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path().string()));
}

TEST_F(RunDirectoryTest, ARestartSetsTheOldRunAside) {
  for (const char* aside : {"before-restart-1", "before-restart-2"}) {
    write_text(path() / "metrics.jsonl", aside);
    write_text(path() / "checkpoints" / "step-00000001" / "manifest.json", "{}");
    write_text(path() / "notes.txt", "not the run's");
    const RunDirectory directory = open();
    ASSERT_TRUE(directory.set_aside().ok());
    EXPECT_TRUE(fs::exists(path() / "notes.txt"));
    EXPECT_FALSE(fs::exists(directory.metrics_file()));
    EXPECT_FALSE(fs::exists(directory.checkpoints().path()));
    EXPECT_EQ(contents(path() / aside / "metrics.jsonl"), aside);
    EXPECT_TRUE(fs::exists(path() / aside / "checkpoints" / "step-00000001" / "manifest.json"));
  }
}

TEST_F(RunDirectoryTest, MetricsAreCutBackToTheStep) {
  const std::string one = R"({"step": 1, "loss": 2.5})"
                          "\n";
  const std::string two = R"({"step": 2, "loss": null})"
                          "\n";
  const std::string three = R"({"step": 3})"
                            "\n";
  EXPECT_EQ(cut(one + two + three, 2), one + two);
  EXPECT_EQ(cut(one + two + three, 3), one + two + three);
  EXPECT_EQ(cut(one + two + three, 0), "");
  EXPECT_EQ(cut("", 5), "");
  EXPECT_TRUE(open().cut_metrics(1).ok());
}

TEST_F(RunDirectoryTest, ALineThatIsNotWholeIsDropped) {
  const std::string line = R"({"step": 1, "loss": 2.5})";
  for (size_t size = 0; size < line.size(); ++size) {
    EXPECT_EQ(cut(line + "\n" + line.substr(0, size), 9), line + "\n") << size;
  }
  EXPECT_EQ(cut(line, 9), line + "\n");
  EXPECT_EQ(cut(std::string(20, '\0') + "\n" + line + "\n", 9), line + "\n");
  EXPECT_EQ(cut("{\"step\": \"1\"}\n[1]\n7\n{\"step\": -1}\n" + line + "\n", 9), line + "\n");
}

}  // namespace
}  // namespace weft
