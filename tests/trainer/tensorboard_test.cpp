#include "trainer/tensorboard.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/process.h"

namespace weft {
namespace {

std::string from_hex(const std::string& hex) {
  std::string bytes, digits;
  for (const char c : hex) {
    if (c == ' ') continue;
    digits += c;
    if (digits.size() == 2) {
      bytes += static_cast<char>(std::stoi(digits, nullptr, 16));
      digits.clear();
    }
  }
  return bytes;
}

// The events of a file, with framing and checksums checked.
std::vector<std::string> events_of(const std::string& file) {
  std::vector<std::string> events;
  size_t at = 0;
  while (at < file.size()) {
    uint64_t length = 0;
    uint32_t length_crc = 0, data_crc = 0;
    if (at + 16 > file.size()) break;
    std::memcpy(&length, &file[at], 8);
    std::memcpy(&length_crc, &file[at + 8], 4);
    EXPECT_EQ(length_crc, tensorboard::masked_crc32c(file.substr(at, 8)));
    if (at + 16 + length > file.size()) break;
    events.push_back(file.substr(at + 12, length));
    std::memcpy(&data_crc, &file[at + 12 + length], 4);
    EXPECT_EQ(data_crc, tensorboard::masked_crc32c(events.back()));
    at += 16 + length;
  }
  EXPECT_EQ(at, file.size()) << "a record is cut off";
  return events;
}

std::string without_wall_time(const std::string& event) { return event.substr(9); }

// Known answers of spec/formats.md 6.1.
TEST(TensorBoard, ChecksumsAreCastagnolis) {
  EXPECT_EQ(tensorboard::crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(tensorboard::masked_crc32c("123456789"), 0xc78ab0e5u);
  EXPECT_EQ(tensorboard::crc32c(""), 0u);
  EXPECT_EQ(tensorboard::masked_crc32c(""), 0xa282ead8u);
  EXPECT_EQ(tensorboard::crc32c(std::string(32, '\0')), 0x8a9136aau);
}

// Test values of spec/formats.md 6.3.
TEST(TensorBoard, RecordsAreTheBytesOfTheFormat) {
  EXPECT_EQ(tensorboard::record(tensorboard::version_event(1700000000.0)),
            from_hex("1800000000000000 a37f4b22 0900000040fc54d941 1a0d "
                     "627261696e2e4576656e743a32 eced8f9d"));
  EXPECT_EQ(
      tensorboard::record(tensorboard::scalar_event(1700000001.5, 300, {{"train/loss", 2.5}})),
      from_hex("2100000000000000 017becf6 0900006040fc54d941 10ac02 2a13 0a11 0a0a "
               "747261696e2f6c6f7373 15 00002040 57e767f3"));
}

TEST(TensorBoard, SeveralValuesShareAnEventAndStepZeroIsLeftOut) {
  EXPECT_EQ(without_wall_time(tensorboard::scalar_event(0, 0, {{"a", 1.0}, {"b", -2.0}})),
            from_hex("2a14 0a08 0a0161 150000803f 0a08 0a0162 15000000c0"));
}

TEST(TensorBoard, TextIsAStringTensorOfThePluginText) {
  EXPECT_EQ(without_wall_time(tensorboard::text_event(0, 0, "recipe", "hi")),
            from_hex("2a22 0a20 0a06 726563697065 420c 0807 1204 1202 0801 4202 6869 "
                     "4a08 0a06 0a04 74657874"));
}

TEST(TensorBoard, AStartIsASessionLogAtItsStep) {
  EXPECT_EQ(without_wall_time(tensorboard::session_start_event(0, 300)),
            from_hex("10ac02 3a02 0801"));
}

TEST(EventWriter, WritesAFileThatReadersKnowByItsName) {
  const TemporaryFolder folder;
  absl::StatusOr<EventWriter> events = EventWriter::open(folder.path() / "new" / "tensorboard", 0);
  ASSERT_TRUE(events.ok()) << events.status();
  EXPECT_THAT(events->path().filename().string(),
              testing::MatchesRegex("events\\.out\\.tfevents\\.[0-9]+\\..*\\.[0-9]+\\.0"));
  ASSERT_TRUE(events->write_scalars(1, {{"loss", 2.5}}).ok());
  ASSERT_TRUE(events->write_text(1, "recipe", std::string(100000, 'x')).ok());
  const std::vector<std::string> written = events_of(contents(events->path()));
  ASSERT_EQ(written.size(), 4u);
  EXPECT_EQ(without_wall_time(written[0]), without_wall_time(tensorboard::version_event(0)));
  EXPECT_EQ(without_wall_time(written[1]),
            without_wall_time(tensorboard::session_start_event(0, 1)));
  EXPECT_EQ(without_wall_time(written[2]),
            without_wall_time(tensorboard::scalar_event(0, 1, {{"loss", 2.5}})));
  EXPECT_EQ(without_wall_time(written[3]),
            without_wall_time(tensorboard::text_event(0, 1, "recipe", std::string(100000, 'x'))));
}

TEST(EventWriter, AResumedRunOpensANewFileThatStartsAfterItsStep) {
  const TemporaryFolder folder;
  const absl::StatusOr<EventWriter> first = EventWriter::open(folder.path(), 0);
  const absl::StatusOr<EventWriter> second = EventWriter::open(folder.path(), 40);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first->path(), second->path());
  const std::vector<std::string> written = events_of(contents(second->path()));
  ASSERT_EQ(written.size(), 2u);
  EXPECT_EQ(without_wall_time(written[1]),
            without_wall_time(tensorboard::session_start_event(0, 41)));
}

TEST(EventWriter, AFolderThatCannotBeMadeIsNamed) {
  const TemporaryFolder folder;
  write_text(folder.path() / "file", "");
  const absl::Status status = EventWriter::open(folder.path() / "file" / "in", 0).status();
  EXPECT_EQ(exit_status(status), 2);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("file/in"));
}

}  // namespace
}  // namespace weft
