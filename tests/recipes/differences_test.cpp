#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recipes/load.h"
#include "tests/recipes/broken_recipes.h"

namespace weft {
namespace {

Recipe good() {
  auto recipe = parse_recipe(kGoodRecipe, "good");
  WEFT_CHECK(recipe.ok(), recipe.status());
  return *std::move(recipe);
}

std::string found(const Recipe& now) { return absl::StrJoin(differences(good(), now), "\n"); }

TEST(Differences, AreNamedWithBothValues) {
  Recipe now = good();
  now.optim.eps = 1e-6;
  now.model.num_layers = 5;
  now.optim.betas = {0.9, 0.99};
  EXPECT_EQ(found(now),
            "model.num_layers: 4 in the run, 5 now\n"
            "optim.betas: [0.9, 0.95] in the run, [0.9, 0.99] now\n"
            "optim.eps: 1e-08 in the run, 1e-06 now");
}

TEST(Differences, NameKeysThatComeAndGo) {
  Recipe now = good();
  now.stages[0].schedule.kind = ScheduleKind::kConstant;
  now.stages[0].data.sources.push_back({"more.txt", 2.0});
  EXPECT_EQ(found(now),
            "stages.0.schedule.kind: wsd in the run, constant now\n"
            "stages.0.schedule.decay_steps: 4 in the run, absent now\n"
            "stages.0.schedule.decay: sqrt in the run, absent now\n"
            "stages.0.schedule.final_fraction: 0 in the run, absent now\n"
            "stages.0.data.sources.1.path: absent in the run, more.txt now\n"
            "stages.0.data.sources.1.weight: absent in the run, 2 now");
}

TEST(Differences, LeaveOutWhatAResumedRunMayChange) {
  Recipe now = good();
  now.device = DeviceKind::kCpu;
  now.threads = Auto<int64_t>(3);
  now.stages[0].steps = 99;
  now.stages[0].micro_batch_tokens = Auto<int64_t>(64);
  now.checkpoint.keep = 9;
  now.logging.tensorboard = false;
  now.memory = {MiniSequenceRows{64, 32}, Recompute::kBlock, 2};
  EXPECT_EQ(found(now), "");
  now.memory.mini_sequences = MiniSequenceRule::kNone;
  EXPECT_EQ(found(now), "");
}

TEST(Differences, TellWhatIsOptimised) {
  Recipe now = good();
  now.loss = {.z_loss = 1e-4, .label_smoothing = 0.1};
  EXPECT_THAT(differences(good(), now),
              testing::ElementsAre("loss.z_loss: 0 in the run, 1e-04 now",
                                   "loss.label_smoothing: 0 in the run, 0.1 now"));
}

TEST(Differences, ListNamesTheSeedAndValidation) {
  Recipe now = good();
  now.name = "another";
  now.seed = 2;
  now.stages[0].name = "first";
  now.validation.every_steps += 1;
  EXPECT_THAT(differences(good(), now),
              testing::ElementsAre(testing::StartsWith("name: "), "seed: 1 in the run, 2 now",
                                   "stages.0.name: main in the run, first now",
                                   testing::StartsWith("validation.every_steps: ")));
}

}  // namespace
}  // namespace weft
