// The choice of experts for a few tokens, against `route` in operators.
#include "models/kernels/cpu/choose_experts.h"

#include <limits>
#include <set>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randint.h>
#include <gtest/gtest.h>

#include "models/moe.h"

namespace weft {
namespace {

// Logits of few values, so that most are equal to others. The exponentials are each library's own:
// they and the two divisions differ by a unit in the last place each.
template <class C>
void expect_route(at::ScalarType type) {
  const at::Generator random = at::detail::createCPUGenerator(7);
  const double close = 8 * std::numeric_limits<C>::epsilon();
  for (const int64_t experts : {1, 2, 5, 16, 64}) {
    const Tensor logits =
        at::randint(0, 3, {50, experts}, random, at::TensorOptions(at::kDouble)).to(type);
    for (const int64_t top_k : {int64_t{1}, (experts + 1) / 2, experts}) {
      for (const bool renormalize : {false, true}) {
        const Routing routing = route(logits, top_k, renormalize);
        for (int64_t t = 0; t < 50; ++t) {
          std::vector<int64_t> chosen(static_cast<size_t>(top_k));
          std::vector<C> weights(chosen.size());
          cpu::choose_experts<C>({experts, top_k, renormalize}, logits[t].const_data_ptr<C>(),
                                 chosen.data(), weights.data());
          for (int64_t i = 0; i < top_k; ++i) {
            EXPECT_EQ(chosen[i], routing.experts[t][i].item<int64_t>());
            EXPECT_NEAR(weights[i], routing.weights[t][i].item<double>(), close);
          }
        }
      }
    }
  }
}

TEST(ChooseExperts, EqualsRouteWithTies) {
  expect_route<float>(at::kFloat);
  expect_route<double>(at::kDouble);
}

// A model that has diverged gets an error from its logits, further on: here nothing may be read or
// written that isn't there.
TEST(ChooseExperts, GivesDifferentExpertsWhateverTheLogitsAre) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<std::vector<float>> cases = {{1, kNaN, 0, 2}, {kInfinity, 0, kInfinity, 1}};
  for (const std::vector<float>& logits : cases) {
    for (const int64_t top_k : {1, 2, 4}) {
      std::vector<int64_t> chosen(static_cast<size_t>(top_k), -1);
      std::vector<float> weights(chosen.size());
      cpu::choose_experts<float>({4, top_k, /*renormalize=*/true}, logits.data(), chosen.data(),
                                 weights.data());
      EXPECT_EQ(std::set<int64_t>(chosen.begin(), chosen.end()).size(), chosen.size());
      for (const int64_t expert : chosen) EXPECT_TRUE(0 <= expert && expert < 4) << expert;
    }
  }
}

}  // namespace
}  // namespace weft
