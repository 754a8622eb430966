#include "trainer/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/damage.h"
#include "tests/trainer/checkpoint_fixture.h"

namespace weft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(CheckpointTest, WithoutAnyThereIsNoLatest) {
  EXPECT_FALSE(checkpoints().find_latest(log())->has_value());
  fs::create_directories(path());
  EXPECT_FALSE(checkpoints().find_latest(log())->has_value());
}

TEST_F(CheckpointTest, WhatWasSavedIsFoundByEveryPathToIt) {
  save(7);
  expect_latest(7);
  const fs::path before = fs::current_path();
  fs::current_path(run_dir());
  for (const fs::path& named : {run_dir(), path(), folder(7), path() / "latest",
                                fs::path("checkpoints/step-00000007"), fs::path(".")}) {
    const auto checkpoint = CheckpointFolder::open(named, log());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    expect_contents(*checkpoint, 7);
  }
  fs::current_path(before);
  EXPECT_EQ(contents(log_file()), "");
}

TEST_F(CheckpointTest, ACheckpointIsSelfContained) {
  save(7);
  const TemporaryFolder elsewhere(fast_folder());
  fs::rename(folder(7), elsewhere.path() / "model");
  expect_contents(*CheckpointFolder::open(elsewhere.path() / "model", log()), 7);
}

TEST_F(CheckpointTest, APathWithoutACheckpointIsRefusedByName) {
  save(7);
  fs::create_directory(run_dir() / "empty");
  EXPECT_THAT(std::string(CheckpointFolder::open(run_dir() / "empty", log()).status().message()),
              HasSubstr((run_dir() / "empty").string() + ": holds no checkpoint"));
  EXPECT_THAT(std::string(CheckpointFolder::open(run_dir() / "absent", log()).status().message()),
              HasSubstr((run_dir() / "absent").string() + ": does not exist"));
  write_text(run_dir() / "file", "x");
  EXPECT_EQ(CheckpointFolder::open(run_dir() / "file", log()).status().message(),
            (run_dir() / "file").string() + ": is a file, but a checkpoint is a folder");
  EXPECT_THAT(std::string(CheckpointFolder::open(folder(8), log()).status().message()),
              HasSubstr((folder(8) / "manifest.json").string()));
}

TEST_F(CheckpointTest, KeepsTheNewestAndEveryMth) {
  for (int64_t step = 2; step <= 14; step += 2) save(step, {.keep = 2, .keep_every = 6});
  EXPECT_THAT(names(), ElementsAre("latest", "step-00000006", "step-00000012", "step-00000014"));
  EXPECT_EQ(fs::read_symlink(path() / "latest"), "step-00000014");
  for (const int64_t step : {6, 12, 14}) {
    expect_contents(*CheckpointFolder::open(folder(step), log()), step);
  }
}

TEST_F(CheckpointTest, LeftoversAreRemovedAndOtherNamesLeftAlone) {
  write_text(path() / "step-00000001.tmp" / "model.safetensors", "half");
  write_text(path() / "step-00000002.deleted.tmp" / "manifest.json", "old");
  write_text(path() / "step-3" / "mine", "x");
  write_text(path() / "step-000000004" / "mine", "x");
  write_text(path() / "step-0000000x" / "mine", "x");
  fs::create_directory_symlink("step-00000001", path() / "latest.tmp");
  save(5, {.keep = 1});
  EXPECT_THAT(names(),
              ElementsAre("latest", "step-000000004", "step-00000005", "step-0000000x", "step-3"));
  expect_latest(5);
}

TEST_F(CheckpointTest, EveryDamageIsNamedAndTheOneBeforeIsUsed) {
  save(3);
  save(6);
  for_each_damage(folder(6), [&](const fs::path& file, const std::string& what) {
    const auto opened = CheckpointFolder::open(folder(6), log());
    // With a flipped bit the manifest may say the same (white space), or lie about another file.
    const bool lies = file.filename() == "manifest.json" && what.starts_with("bit");
    if (lies && opened.ok()) return;
    ASSERT_FALSE(opened.ok()) << file << ": " << what;
    EXPECT_EQ(exit_status(opened.status()), 2);
    EXPECT_THAT(std::string(opened.status().message()),
                HasSubstr(lies ? folder(6).string() : file.string()))
        << what;
    expect_latest(3);
  });
  EXPECT_THAT(contents(log_file()), HasSubstr("warning: damaged checkpoints are passed over"));
  EXPECT_THAT(contents(log_file()), HasSubstr("going back to " + folder(3).string()));
  expect_latest(6);
}

TEST_F(CheckpointTest, WithAllDamagedThereIsNoSilentFreshStart) {
  save(3);
  save(6);
  fs::remove(folder(3) / "state.json");
  fs::resize_file(folder(6) / "manifest.json", 100);
  const absl::Status status = checkpoints().find_latest(log()).status();
  EXPECT_EQ(exit_status(status), 2);
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr((folder(3) / "state.json").string() + ": No such file"));
  EXPECT_THAT(message, HasSubstr((folder(6) / "manifest.json").string() + ": is not JSON"));
  EXPECT_THAT(message, HasSubstr("--restart"));
  fs::remove_all(folder(3));
  fs::remove_all(folder(6));
  EXPECT_THAT(std::string(checkpoints().find_latest(log()).status().message()),
              HasSubstr(folder(6).string() + ": `latest` names it, but it is gone"));
}

TEST_F(CheckpointTest, AStateThatIsNoneIsDamageAndOneOfAnotherVersionIsNot) {
  save(3);
  const auto write_state = [&](const char* state) {
    fs::remove_all(folder(6));
    fs::create_directory(folder(6));
    TensorStoreWriter writer(folder(6), 1000);
    ASSERT_TRUE(writer.add_text(kStateFile, state).ok());
    ASSERT_TRUE(writer.finish().ok());
  };
  write_state("{\"step\": 2}");
  EXPECT_EQ(std::string(CheckpointFolder::open(folder(6), log()).status().message()),
            (folder(6) / kStateFile).string() + ": is not a training state");
  expect_latest(3);
  write_state("{\"version\": 99}");
  const absl::Status status = checkpoints().find_latest(log()).status();
  EXPECT_EQ(exit_status(status), 2);
  EXPECT_EQ(std::string(status.message()), (folder(6) / kStateFile).string() +
                                               ": is a training state of version 99, this weft "
                                               "reads 2");
}

// A run that went back to 3 keeps 3 although 6 and 9, damaged, are newer.
TEST_F(CheckpointTest, WhatIsSetAsideDoesNotCountAsKept) {
  for (const int64_t step : {3, 6, 9}) save(step);
  fs::remove(folder(6) / "state.json");
  fs::remove(folder(9) / "manifest.json");
  expect_latest(3);
  ASSERT_TRUE(checkpoints().set_aside_after(3).ok());
  EXPECT_EQ(fs::read_symlink(path() / "latest"), "step-00000003");
  save(6, {.keep = 2});
  EXPECT_THAT(names(), ElementsAre("latest", "step-00000003", "step-00000006",
                                   "step-00000006.damaged", "step-00000009.damaged"));
  expect_latest(6);
  fs::remove(folder(6) / "manifest.json");
  ASSERT_TRUE(checkpoints().set_aside_after(3).ok());
  EXPECT_TRUE(fs::exists(path() / "step-00000006.damaged" / "state.json"));
  expect_latest(3);
}

TEST_F(CheckpointTest, WithNothingNewerSettingAsideChangesNothing) {
  ASSERT_TRUE(checkpoints().set_aside_after(0).ok());
  EXPECT_FALSE(fs::exists(path()));
  save(3);
  ASSERT_TRUE(checkpoints().set_aside_after(3).ok());
  EXPECT_THAT(names(), ElementsAre("latest", "step-00000003"));
}

TEST_F(CheckpointTest, SavingAStepAgainReplacesIt) {
  save(3);
  fs::remove(folder(3) / "manifest.json");
  save(3);
  EXPECT_THAT(names(), ElementsAre("latest", "step-00000003"));
  expect_latest(3);
}

TEST_F(CheckpointTest, PreflightMakesTheFolderAndLeavesNoProbe) {
  ASSERT_TRUE(checkpoints().preflight(1000, 4).ok());
  EXPECT_TRUE(fs::is_empty(path()));
}

TEST_F(CheckpointTest, PreflightWantsRoomForAllThatAreStillToCome) {
  const int64_t available = *free_bytes(run_dir());
  const absl::Status status = checkpoints().preflight(available / 3, 4);
  EXPECT_EQ(exit_status(status), 2);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path().string()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("room for 4 more checkpoints"));
  EXPECT_TRUE(checkpoints().preflight(available / 1000, 4).ok());
}

TEST_F(CheckpointTest, PreflightNamesAFolderThatCannotBeWritten) {
  write_text(path(), "a file in the way");
  const absl::Status status = checkpoints().preflight(1000, 4);
  EXPECT_EQ(exit_status(status), 2);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path().string()));
}

}  // namespace
}  // namespace weft
