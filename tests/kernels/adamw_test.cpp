#include "models/kernels/adamw.h"

#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "tests/kernels/adamw_case.h"
#include "tests/kernels/isas.h"

namespace weft {
namespace {

TEST(AdamW, IsTheDefinitionOnEveryInstructionSet) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    for (const cpu::Isa isa : supported_isas()) {
      const std::vector<AdamWTensors> all = adamw_parameters(type, type == at::kFloat);
      std::vector<AdamWTensors> truth;
      for (const AdamWTensors& p : all) truth.push_back(adamw_truth(p));
      adamw(all, kAdamWStep, isa);
      for (size_t i = 0; i < all.size(); ++i) expect_updated(all[i], truth[i]);
    }
  }
}

TEST(AdamW, GivesTheSameBitsForAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  std::vector<std::vector<AdamWTensors>> runs;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    runs.push_back(adamw_parameters(at::kFloat, true));
    adamw(runs.back(), kAdamWStep);
    for (size_t i = 0; i < runs[0].size(); ++i) {
      EXPECT_TRUE(runs.back()[i].master.equal(runs[0][i].master)) << threads;
      EXPECT_TRUE(runs.back()[i].v.equal(runs[0][i].v)) << threads;
    }
  }
  at::set_num_threads(before);
  adamw({}, kAdamWStep);
}

TEST(AdamWDeathTest, OtherShapesAndTypesAreAProgrammersError) {
  AdamWTensors p = adamw_parameter({4, 3}, at::kFloat, true);
  p.gradient = p.gradient.t();
  EXPECT_DEATH(adamw({p}, kAdamWStep), "gradient CPUFloatType \\[3, 4\\]");
  AdamWTensors copied = adamw_parameter({4}, at::kDouble, true);
  EXPECT_DEATH(adamw({copied}, kAdamWStep), "adamw of a master CPUDoubleType");
  EXPECT_DEATH(
      adamw({adamw_parameter({2}, at::kFloat, false), adamw_parameter({2}, at::kDouble, false)},
            kAdamWStep),
      "different types");
  AdamWStep first = kAdamWStep;
  first.number = 0;
  EXPECT_DEATH(adamw({adamw_parameter({2}, at::kFloat, false)}, first), "from 1, not 0");
}

}  // namespace
}  // namespace weft
