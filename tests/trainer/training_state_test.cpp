#include "trainer/training_state.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "base/json.h"

namespace weft {
namespace {

const TrainingState kState = {.step = 300,
                              .tokens = 9'000'000'000'000'000'001,
                              .threads = 2,
                              .grad_norm_mean = 0.1,
                              .guard_updates = 298,
                              .skipped = 2,
                              .skipped_in_a_row = 1,
                              .compute = "bf16",
                              .data = {"0123", "4567"}};

std::string with(const char* field, const Json& value) {
  Json json = Json::parse(to_json(kState));
  json[field] = value;
  return json.dump();
}

TEST(TrainingState, ReadsBackBitForBit) {
  EXPECT_TRUE(*state_from_json(to_json(kState)) == kState);
  for (const double mean :
       {0.0, 1.0 / 3, std::nextafter(1.0, 2.0), 5e-324, std::numeric_limits<double>::max()}) {
    TrainingState state = kState;
    state.grad_norm_mean = mean;
    EXPECT_EQ(state_from_json(to_json(state))->grad_norm_mean, mean);
  }
}

TEST(TrainingState, HoldsThousandsOfSources) {
  TrainingState state = kState;
  state.data.assign(5000, "0123456789abcdef");
  EXPECT_TRUE(*state_from_json(to_json(state)) == state);
}

TEST(TrainingState, RefusesOtherVersionsAndImpossibleNumbers) {
  const auto refusal = [](const std::string& text) {
    return std::string(state_from_json(text).status().message());
  };
  EXPECT_EQ(refusal("[]"), "is not a training state");
  EXPECT_EQ(refusal(with("version", 1)), "is a training state of version 1, this weft reads 2");
  EXPECT_TRUE(absl::IsFailedPrecondition(state_from_json(with("version", 3)).status()));
  EXPECT_EQ(refusal(with("version", "1")), "is not a training state");
  EXPECT_EQ(refusal(with("step", -1)), "has no valid value 'step'");
  EXPECT_EQ(refusal(with("step", 1.5)), "has no valid value 'step'");
  EXPECT_EQ(refusal(with("threads", 1LL << 40)), "has no valid value 'threads'");
  EXPECT_EQ(refusal(with("grad_norm_mean", nullptr)), "has no valid value 'grad_norm_mean'");
  EXPECT_EQ(refusal(with("compute", 1)), "has no valid value 'compute'");
  EXPECT_EQ(refusal(with("data", Json::array({1}))), "has no valid value 'data'");
  EXPECT_EQ(refusal("{"), "is not JSON (byte 2)");
}

}  // namespace
}  // namespace weft
