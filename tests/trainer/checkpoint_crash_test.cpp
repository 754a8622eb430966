// Checkpoints under kill -9 and on a full disk: the newest whole one always has its exact contents,
// and the next save works.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/forked.h"
#include "tests/support/traced.h"
#include "tests/trainer/checkpoint_fixture.h"
#include "trainer/checkpoint.h"

namespace weft {
namespace {

using testing::ElementsAre;

constexpr Retention kKeepTwo = {.keep = 2};
// The data of the moments' file.
constexpr int64_t kLargestFile = 18'432;

class CheckpointCrash : public CheckpointTest {
 protected:
  // Checkpoints 1 and 2 and nothing else; saving 3 then deletes 1.
  void begin() {
    fs::remove_all(path());
    save(1);
    save(2);
  }
  int save_3() const { return exit_status(checkpoints().save(contents_of(3), kKeepTwo)); }

  // After a save of 3 that was cut short: 2 or 3 is there, `latest` names a whole one, and going on
  // leaves the folder as if nothing had happened. The step that was found.
  int64_t expect_recovery() {
    const auto latest = checkpoints().find_latest(log());
    EXPECT_TRUE(latest.ok() && latest->has_value()) << latest.status();
    if (!latest.ok() || !latest->has_value()) return -1;
    const int64_t found = (*latest)->state.step;
    EXPECT_TRUE(found == 2 || found == 3) << found;
    expect_contents(**latest, found);
    const auto linked = CheckpointFolder::open(path() / "latest", log());
    EXPECT_TRUE(linked.ok()) << linked.status();
    EXPECT_EQ(contents(log_file()), "");
    save(found + 1, kKeepTwo);
    expect_latest(found + 1);
    EXPECT_THAT(names(), ElementsAre("latest", folder_name(found), folder_name(found + 1)));
    return found;
  }
};

TEST_F(CheckpointCrash, KilledAtEachPointOfTheProtocol) {
  const std::map<std::string, int64_t> found_after = {
      {"start", 2}, {"written", 2}, {"renamed", 3}, {"linked", 3}, {"retained", 3}};
  for (const auto& [point, found] : found_after) {
    SCOPED_TRACE(point);
    begin();
    const ChildEnd end = run_forked([&] {
      return exit_status(checkpoints().save(contents_of(3), kKeepTwo, [&](const char* reached) {
        if (reached == point) raise(SIGKILL);
      }));
    });
    ASSERT_EQ(end.signal, SIGKILL);
    EXPECT_EQ(expect_recovery(), found);
  }
}

TEST_F(CheckpointCrash, KilledBeforeAnyCallThatChangesFiles) {
  std::set<int64_t> found;
  int calls = 0;
  for (;; ++calls) {
    SCOPED_TRACE(calls);
    begin();
    const TracedEnd end = kill_at_call(calls, [&] { save_3(); });
    if (end == TracedEnd::kNotAllowed) GTEST_SKIP() << "this machine does not allow tracing";
    if (end == TracedEnd::kFinished) break;
    found.insert(expect_recovery());
    if (HasFailure()) return;
  }
  EXPECT_GT(calls, 60);
  EXPECT_THAT(found, ElementsAre(2, 3));
}

TEST_F(CheckpointCrash, KilledInsideAFile) {
  for (int64_t bytes = 0; bytes < kLargestFile; bytes += 1999) {
    SCOPED_TRACE(bytes);
    begin();
    const ChildEnd end = run_forked([&] {
      limit_files(bytes, BeyondLimit::kKills);
      return save_3();
    });
    ASSERT_EQ(end.signal, SIGXFSZ);
    EXPECT_EQ(expect_recovery(), 2);
  }
}

TEST_F(CheckpointCrash, AFullDiskIsAnErrorThatLeavesTheOthersAndNoRest) {
  for (int64_t bytes = 0; bytes < kLargestFile; bytes += 1999) {
    SCOPED_TRACE(bytes);
    begin();
    const ChildEnd end = run_forked([&] {
      limit_files(bytes, BeyondLimit::kFails);
      const absl::Status status = checkpoints().save(contents_of(3), kKeepTwo);
      const std::string message(status.message());
      const bool clear = message.starts_with("checkpoint of update 3: " + path().string()) &&
                         message.ends_with("File too large");
      return clear ? exit_status(status) : 99;
    });
    EXPECT_EQ(end.exit_status, 1);
    EXPECT_THAT(names(), ElementsAre("latest", "step-00000001", "step-00000002"));
    EXPECT_EQ(expect_recovery(), 2);
  }
}

}  // namespace
}  // namespace weft
