#include "trainer/metrics.h"

#include <cmath>
#include <limits>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/process.h"

namespace weft {
namespace {

MetricsRow row_of(int64_t step, double loss) {
  MetricsRow row;
  row.add("step", step);
  row.add("loss", loss);
  return row;
}

TEST(MetricsRow, IsOneFlatObjectInTheOrderOfWriting) {
  MetricsRow row = row_of(120, 1.25);
  row.add("tokens", int64_t{983040});
  row.add("learning_rate", 1e-5);
  row.add("moe.3.max_load", 2.0);
  EXPECT_EQ(
      to_json(row),
      R"({"step":120,"loss":1.25,"tokens":983040,"learning_rate":1e-05,"moe.3.max_load":2.0})");
  EXPECT_EQ(to_json({}), "{}");
}

TEST(MetricsRow, DoublesReadBackAsTheSameBits) {
  for (const double value :
       {0.0, -0.0, 0.1, 1.0 / 3, 2.0, 1e20, 1e21, 1e300, 123456789012345680.0, 5e-324,
        std::numeric_limits<double>::max(), std::nextafter(1.0, 2.0)}) {
    const auto json = nlohmann::json::parse(to_json(row_of(1, value)));
    ASSERT_TRUE(json["loss"].is_number_float()) << json;
    EXPECT_EQ(json["loss"].get<double>(), value);
    EXPECT_EQ(std::signbit(json["loss"].get<double>()), std::signbit(value));
  }
}

TEST(MetricsRow, IntegersKeepAllTheirDigits) {
  MetricsRow row;
  row.add("bytes", std::numeric_limits<int64_t>::max());
  row.add("change", std::numeric_limits<int64_t>::min());
  const auto json = nlohmann::json::parse(to_json(row));
  EXPECT_EQ(json["bytes"].get<int64_t>(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(json["change"].get<int64_t>(), std::numeric_limits<int64_t>::min());
}

TEST(MetricsRow, WhatIsNotFiniteIsNull) {
  for (const double value : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    EXPECT_TRUE(nlohmann::json::parse(to_json(row_of(1, value)))["loss"].is_null());
  }
}

TEST(MetricsRow, NamesOfSourcesAreEscaped) {
  const std::string name = "validation.a \"quoted\"\n\xE4.loss";  // \xE4 alone is not UTF-8
  MetricsRow row;
  row.add(name, 1.5);
  const std::string text = to_json(row);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json.begin().key(), "validation.a \"quoted\"\n\xEF\xBF\xBD.loss");
}

TEST(MetricsWriter, EachRowIsInTheFileAtOnceAndLaterWritersAppend) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "metrics.jsonl";
  for (int64_t first : {1, 3}) {
    absl::StatusOr<MetricsWriter> writer = MetricsWriter::open(path);
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (int64_t step = first; step < first + 2; ++step) {
      ASSERT_TRUE(writer->write(row_of(step, 0.5 * static_cast<double>(step))).ok());
      std::istringstream lines(contents(path));
      int64_t count = 0;
      for (std::string line; std::getline(lines, line);) {
        ++count;
        const auto json = nlohmann::json::parse(line);
        EXPECT_EQ(json["step"].get<int64_t>(), count);
        EXPECT_EQ(json["loss"].get<double>(), 0.5 * static_cast<double>(count));
      }
      EXPECT_EQ(count, step);
    }
  }
  EXPECT_EQ(contents(path).back(), '\n');
}

TEST(MetricsWriter, AFileThatCannotBeOpenedIsNamedWithTheReason) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "absent" / "metrics.jsonl";
  const absl::Status status = MetricsWriter::open(path).status();
  EXPECT_EQ(exit_status(status), 2);
  EXPECT_EQ(std::string(status.message()),
            path.string() + ": cannot be opened for writing: No such file or directory");
}

TEST(MetricsWriter, AFullDiskIsAFailureThatNamesTheFile) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  absl::StatusOr<MetricsWriter> writer = MetricsWriter::open("/dev/full");
  ASSERT_TRUE(writer.ok()) << writer.status();
  const absl::Status status = writer->write(row_of(1, 2.5));
  EXPECT_EQ(exit_status(status), 1);
  EXPECT_EQ(std::string(status.message()),
            "/dev/full: wrote 0 of 22 bytes: No space left on device");
}

}  // namespace
}  // namespace weft
