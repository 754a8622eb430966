#pragma once
// The committed Hugging Face checkpoints (tests/parity/fixtures) in a folder of the test's own,
// where the program is started as a user would.
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "base/safetensors.h"
#include "tests/support/process.h"

namespace weft {

inline constexpr const char* kHfFamilies[] = {"gpt2",   "jamba",   "llama",  "mamba",
                                              "mamba2", "mixtral", "openelm"};

class HfTest : public testing::Test {
 protected:
  using Names = std::set<std::string>;

  static fs::path fixture(const std::string& family) {
    return fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures" / family;
  }
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  // The checkpoint of a family as a folder of that name, and its ids as ids.json.
  void copy(const std::string& family) const {
    fs::create_directory(path(family));
    for (const char* name : {"config.json", "generation_config.json", "model.safetensors"}) {
      if (fs::exists(fixture(family) / name)) fs::copy(fixture(family) / name, path(family) / name);
    }
    write_text(path("ids.json"), contents(fixture(family) / "ids.json"));
  }

  // Runs `weft` with these arguments; a file ends at `limit_bytes`, as on a full disk.
  Outcome weft(std::vector<std::string> arguments, std::optional<int64_t> limit_bytes = {}) const {
    arguments.insert(arguments.begin(), WEFT_BINARY_DIR "/weft");
    ProcessOptions options;
    options.folder = folder_.path();
    options.file_limit_bytes = limit_bytes;
    options.ignore_file_limit_signal = true;
    return Process(arguments, options).wait();
  }

  void expect_done(const std::vector<std::string>& arguments, const std::string& output) const {
    const Outcome outcome = weft(arguments);
    EXPECT_EQ(outcome.exit_status, 0) << arguments[0];
    EXPECT_EQ(outcome.output, output);
  }
  // Bad input: exit status 2, `message` alone, and nothing new.
  void expect_refused(const std::vector<std::string>& arguments, const std::string& message) const {
    const Names before = listed();
    const Outcome outcome = weft(arguments);
    EXPECT_EQ(outcome.exit_status, 2) << arguments[0];
    EXPECT_EQ(outcome.output, message + "\n") << arguments[0];
    EXPECT_EQ(listed(), before) << arguments[0];
  }
  // A full disk: exit status 1, a message that names `file`, and nothing new.
  void expect_full(const std::vector<std::string>& arguments, int64_t limit_bytes,
                   const std::string& file) const {
    const Names before = listed();
    const Outcome outcome = weft(arguments, limit_bytes);
    EXPECT_EQ(outcome.exit_status, 1) << arguments[0];
    EXPECT_THAT(outcome.output, testing::StartsWith(file + ": writing "));
    EXPECT_THAT(outcome.output, testing::EndsWith(" failed: File too large\n"));
    EXPECT_EQ(listed(), before) << arguments[0];
  }

  // What is in the folder, or in one of it, but for what the program has printed.
  Names listed(const std::string& folder = ".") const {
    Names names;
    for (const auto& entry : fs::directory_iterator(path(folder))) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with("output-")) names.insert(name);
    }
    return names;
  }

  SafetensorsFile opened(const std::string& name) const { return opened_file(path(name)); }
  static SafetensorsFile opened_file(const fs::path& path) {
    absl::StatusOr<SafetensorsFile> file = SafetensorsFile::open(path);
    WEFT_CHECK(file.ok(), file.status());
    return *std::move(file);
  }
  Json json_of(const std::string& name) const { return Json::parse(contents(path(name))); }

  // Damages of a safetensors file, and what is said of each, without the file's name.
  static std::vector<std::pair<std::string, std::string>> damages(const std::string& whole) {
    uint64_t header = 0;
    std::memcpy(&header, whole.data(), sizeof header);
    const size_t data = whole.size() - 8 - header;
    const std::string huge(8, '\xff');
    std::string no_json = whole;
    no_json[8] = '[';
    return {{whole.substr(0, whole.size() - 100),
             "the tensors take " + std::to_string(data) + " bytes, but the file holds " +
                 std::to_string(data - 100) + " bytes of data"},
            {huge + whole.substr(8),
             "says that its header has 18446744073709551615 bytes, but the file has " +
                 std::to_string(whole.size()) + " (and at most 100000000 are allowed)"},
            {no_json, "its header does not start with {"},
            {whole.substr(0, 5), "has 5 bytes, a safetensors file has at least 8"}};
  }

 private:
  TemporaryFolder folder_{fast_folder()};
};

}  // namespace weft
