// Damaged safetensors files: every truncation, and mutations from a fixed seed. A reader may accept
// what is still a valid file; it never crashes, and what it accepts can be read.
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include "base/safetensors.h"
#include "tests/support/mutate.h"
#include "tests/support/process.h"

namespace weft {
namespace {

class SafetensorsFuzz : public testing::Test {
 protected:
  SafetensorsFuzz() {
    const Tensor counts = at::arange(24, at::kFloat);
    const auto written = write_safetensors(path(),
                                           {{"layers.0.q.weight", counts.reshape({4, 6})},
                                            {"layers.0.q.bias", counts.slice(0, 0, 6)},
                                            {"empty", counts.slice(0, 0, 0)},
                                            {"scalar", counts[3].to(at::kLong)},
                                            {"half", counts.slice(0, 2, 9).to(at::kBFloat16)}},
                                           {{"format", "pt"}});
    WEFT_CHECK(written.ok(), written.status());
    valid_ = contents(path());
  }

  fs::path path() const { return folder_.path() / "x.safetensors"; }
  const std::string& valid() const { return valid_; }

  // Whether the reader accepts `bytes`; reads all tensors if it does.
  bool accepts(const std::string& bytes) const {
    fs::remove(path());  // a new file each time: some file systems flush one that is written over
    write_text(path(), bytes);
    const auto file = SafetensorsFile::open(path());
    if (!file.ok()) {
      EXPECT_TRUE(std::string(file.status().message()).starts_with(path().string()));
      return false;
    }
    size_t data_bytes = 0;
    for (const SafetensorsEntry& entry : file->entries()) {
      EXPECT_EQ(file->find(entry.name), &entry);
      data_bytes += file->read(entry).nbytes();
    }
    EXPECT_LE(data_bytes + 8, bytes.size());
    return true;
  }

 private:
  TemporaryFolder folder_{fast_folder()};
  std::string valid_;
};

TEST_F(SafetensorsFuzz, EveryTruncationIsRefused) {
  ASSERT_TRUE(accepts(valid()));
  for (size_t size = 0; size < valid().size(); ++size) {
    EXPECT_FALSE(accepts(valid().substr(0, size))) << size;
  }
  EXPECT_FALSE(accepts(valid() + '\0'));
}

TEST_F(SafetensorsFuzz, MutatedFilesAreRefusedOrReadable) {
  constexpr uint64_t kCases = 20'000;
  int64_t accepted = 0;
  for (uint64_t i = 0; i < kCases; ++i) {
    const RandomStream stream(i, "fuzz", "safetensors");
    std::string bytes = valid();
    const uint64_t changes = 1 + stream.below(0, 4);
    for (uint64_t change = 1; change <= changes; ++change) mutate(bytes, stream, change);
    // Half of the cases keep an honest length, so that the header's own checks are reached.
    if (i % 2 == 0 && bytes.size() >= 8) bytes.replace(0, 8, valid(), 0, 8);
    accepted += accepts(bytes);
  }
  // Changes of data, names and padding are no damage that the format could show.
  EXPECT_GT(accepted, static_cast<int64_t>(kCases / 50));
  EXPECT_LT(accepted, static_cast<int64_t>(kCases / 2));
}

}  // namespace
}  // namespace weft
