// Logits that are computed when they are read, one sequence in memory at a time.
#include "trainer/inspect.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "base/check.h"

namespace weft {
namespace {

using Counts = std::vector<std::pair<int64_t, int64_t>>;

class LogitSources : public testing::Test {
 protected:
  static LoadedModel load() {
    Log log(Log::Echo::kNo);
    auto model = load_model(WEFT_SOURCE_DIR "/tests/parity/fixtures/jamba", DeviceKind::kCpu,
                            ComputeKind::kFp32, log);
    WEFT_CHECK(model.ok(), model.status());
    return *std::move(model);
  }

  const LoadedModel model_ = load();
  const TokenLists sequences_ = {{5, 3, 9}, {7}, {1, 2, 3, 4, 30}};
  Counts told_;  // what `progress` was called with
  const std::vector<TensorSource> sources_ = logit_sources(
      model_, sequences_, [this](int64_t done, int64_t total) { told_.emplace_back(done, total); });
};

TEST_F(LogitSources, AnnounceNamesAndShapesWithoutComputing) {
  ASSERT_EQ(sources_.size(), 6u);
  for (size_t i = 0; i < 3; ++i) {
    const TensorSource &logits = sources_[2 * i], &loss = sources_[2 * i + 1];
    EXPECT_EQ(logits.name, "logits." + std::to_string(i));
    EXPECT_EQ(logits.shape, (std::vector<int64_t>{static_cast<int64_t>(sequences_[i].size()), 31}));
    EXPECT_EQ(loss.name, "loss." + std::to_string(i));
    EXPECT_EQ(loss.shape, std::vector<int64_t>{});
    EXPECT_EQ(logits.dtype, at::kFloat);
    EXPECT_EQ(loss.dtype, at::kFloat);
  }
  EXPECT_EQ(told_, Counts{});
}

TEST_F(LogitSources, ComputeASequenceOnceForItsLogitsAndItsLoss) {
  const Tensor logits = sources_[4].read().value();
  EXPECT_EQ(told_, (Counts{{1, 3}}));
  const Tensor loss = sources_[5].read().value();
  EXPECT_EQ(told_, (Counts{{1, 3}}));
  EXPECT_EQ(logits.sizes(), at::IntArrayRef({5, 31}));
  EXPECT_EQ(loss.dim(), 0);
  EXPECT_GT(loss.item<float>(), 1.0F);  // near ln 31: the weights are random
  sources_[0].read().value();
  EXPECT_EQ(told_, (Counts{{1, 3}, {2, 3}}));
}

TEST_F(LogitSources, ALossThatIsReadFirstIsTheSame) {
  const Tensor loss = sources_[5].read().value();
  EXPECT_EQ(told_, (Counts{{1, 3}}));
  const auto again = logit_sources(model_, sequences_);
  again[4].read().value();
  EXPECT_TRUE(at::equal(again[5].read().value(), loss));
  EXPECT_EQ(sources_[3].read().value().item<float>(), 0.0F);  // one token has no target
}

}  // namespace
}  // namespace weft
