#include "base/file.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/forked.h"
#include "tests/support/process.h"

namespace weft {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class FileTest : public testing::Test {
 protected:
  const fs::path& folder() const { return folder_.path(); }
  fs::path path(const std::string& name = "file") const { return folder() / name; }
  // Names in the folder.
  size_t files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder()), {}));
  }

 private:
  TemporaryFolder folder_;
};

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST_F(FileTest, ReadsTheWholeTextUpToTheLimit) {
  write_text(path(), std::string("a\0b\n", 4));
  EXPECT_EQ(*read_file(path(), 4), std::string("a\0b\n", 4));
  const absl::Status too_large = read_file(path(), 3).status();
  EXPECT_EQ(exit_status(too_large), 2);
  EXPECT_EQ(std::string(too_large.message()),
            path().string() + ": has 4 bytes, at most 3 are read");
}

TEST_F(FileTest, WhatIsNoRegularFileIsNamedAndNotWaitedFor) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  fs::create_directory(path("folder"));
  for (const char* name : {"pipe", "folder"}) {
    for (const absl::Status& status :
         {read_file(path(name), 100).status(), MappedFile::open(path(name)).status()}) {
      EXPECT_EQ(std::string(status.message()), path(name).string() + ": is not a regular file");
    }
  }
  EXPECT_EQ(std::string(MappedFile::open(path("absent")).status().message()),
            path("absent").string() + ": No such file or directory");
}

TEST_F(FileTest, MapsWhatIsThereAlsoNothing) {
  write_text(path(), "weft");
  write_text(path("empty"), "");
  MappedFile a = *MappedFile::open(path());
  EXPECT_EQ(text_of(a), "weft");
  EXPECT_TRUE(MappedFile::open(path("empty"))->bytes().empty());
  a = *MappedFile::open(path("empty"));
  EXPECT_TRUE(a.bytes().empty());
  EXPECT_EQ(a.path(), path("empty"));
}

TEST_F(FileTest, AnUncommittedFileLeavesTheOldContentAndNothingElse) {
  write_text(path(), "old");
  {
    AtomicFile file = *AtomicFile::create(path());
    ASSERT_TRUE(file.write("new").ok());
    EXPECT_EQ(contents(path()), "old");
  }
  EXPECT_EQ(contents(path()), "old");
  EXPECT_EQ(files(), 1u);
}

TEST_F(FileTest, CommitReplacesTheContentAndKnowsItsSizeAndChecksum) {
  write_text(path(), "an older and longer content");
  AtomicFile file = *AtomicFile::create(path());
  ASSERT_TRUE(file.write("ne").ok());
  ASSERT_TRUE(file.write(std::string_view()).ok());
  ASSERT_TRUE(file.write("w").ok());
  EXPECT_EQ(file.size(), 3);
  const uint64_t sum = file.checksum();
  ASSERT_TRUE(file.commit().ok());
  EXPECT_EQ(contents(path()), "new");
  EXPECT_EQ(*checksum_file(path()), sum);
  EXPECT_EQ(checksum(std::as_bytes(std::span("new", 3))), sum);
  EXPECT_EQ(files(), 1u);
}

// The xxHash library's own value for no bytes and seed 0.
TEST_F(FileTest, ChecksumsAreXxh3) {
  EXPECT_EQ(hex64(checksum({})), "2d06800538d394c2");
  EXPECT_EQ(hex64(10), "000000000000000a");
}

TEST_F(FileTest, AFileThatCannotBeCreatedIsNamed) {
  const absl::Status status = write_file(path("absent") / "file", "x");
  EXPECT_EQ(exit_status(status), 1);
  EXPECT_THAT(std::string(status.message()), HasSubstr((path("absent") / "file").string()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("No such file or directory"));
}

TEST_F(FileTest, AFullDiskIsReportedAndLeavesTheOldContent) {
  write_text(path(), "old");
  const ChildEnd end = run_forked([&] {
    limit_files(1000, BeyondLimit::kFails);
    const absl::Status status = write_file(path(), std::string(5000, 'x'));
    return std::string(status.message()) ==
                   path().string() + ": writing 5000 bytes at 0 failed: File too large"
               ? exit_status(status)
               : 99;
  });
  EXPECT_EQ(end.exit_status, 1);
  EXPECT_EQ(contents(path()), "old");
  EXPECT_EQ(files(), 1u);
}

TEST_F(FileTest, FreeBytesAreThoseOfTheNearestExistingFolder) {
  EXPECT_GT(*free_bytes(path("not") / "yet" / "there"), 0);
  EXPECT_GT(*free_bytes("relative/not/there"), 0);
}

TEST_F(FileTest, RoomIsCheckedAgainstFreeBytes) {
  EXPECT_TRUE(check_room(path("new"), 1).ok());
  const absl::Status status = check_room(path("new"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(exit_status(status), 2);
  EXPECT_THAT(std::string(status.message()),
              AllOf(StartsWith(path("new").string() + ": takes 9223372036854775807 bytes, "),
                    EndsWith(" are free there")));
}

TEST_F(FileTest, SyncFolderNamesAFolderThatIsNotThere) {
  EXPECT_TRUE(sync_folder(folder()).ok());
  EXPECT_THAT(std::string(sync_folder(path("absent")).message()),
              HasSubstr(path("absent").string()));
}

TEST_F(FileTest, ALockIsHeldByOneAndSaysByWhom) {
  {
    const FileLock lock = *FileLock::take(path());
    const absl::Status second = FileLock::take(path()).status();
    EXPECT_EQ(exit_status(second), 2);
    EXPECT_EQ(std::string(second.message()), path().string() + ": is locked by process " +
                                                 std::to_string(getpid()) +
                                                 ", which works there; wait for it, or stop it");
  }
  EXPECT_TRUE(FileLock::take(path()).ok());
}

TEST_F(FileTest, ALockEndsWithItsProcess) {
  const ChildEnd end = run_forked([&] {
    const auto lock = FileLock::take(path());
    if (lock.ok()) raise(SIGKILL);
    return 1;
  });
  EXPECT_EQ(end.signal, SIGKILL);
  EXPECT_TRUE(FileLock::take(path()).ok());
}

}  // namespace
}  // namespace weft
