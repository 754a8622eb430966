// A run that was stopped, at any moment and by any means, ends as if it had not been.
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/cpu_features.h"
#include "tests/cli/run_fixture.h"

namespace weft {
namespace {

using Resume = RunTest;

size_t logged_steps(const fs::path& run_dir) {
  const std::string text = contents(run_dir / "metrics.jsonl");
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST_F(Resume, TwoRunsOfOneRecipeAreBitForBitEqual) {
  ASSERT_EQ(train({}, "a").exit_status, 0);
  ASSERT_EQ(train({}, "b").exit_status, 0);
  expect_same_end("a", "b");
  EXPECT_EQ(metrics(run_dir("a")).size(), 12u + 3u);  // a line an update, three evaluations
}

TEST_F(Resume, StopAfterAndGoOnEndsAsIfUndisturbed) {
  ASSERT_EQ(train({}, "whole").exit_status, 0);
  const Outcome stopped = train({"--stop-after", "5"});
  EXPECT_EQ(stopped.exit_status, 3) << stopped.output;
  EXPECT_TRUE(fs::exists(checkpoint(5)));
  ASSERT_EQ(train({"--stop-after", "7"}).exit_status, 3);
  ASSERT_EQ(train().exit_status, 0);
  expect_same_end("run", "whole");
}

// As the quickstart runs: several threads, and bf16 over fp32 masters where the processor has
// units.
TEST_F(Resume, WithThreadsAndNarrowComputeItEndsAsIfUndisturbed) {
  const std::string compute = has_bf16_units() ? "bf16" : "fp32";
  const auto train_so = [&](std::vector<std::string> more, const std::string& name) {
    more.insert(more.end(), {"--set", "threads=2", "--set", "precision.compute=" + compute});
    return train(more, name).exit_status;
  };
  ASSERT_EQ(train_so({}, "whole"), 0);
  ASSERT_EQ(train_so({"--stop-after", "5"}, "run"), 3);
  ASSERT_EQ(train_so({}, "run"), 0);
  expect_same_end("run", "whole");
}

TEST_F(Resume, InSlicesAndWithLayersComputedAgainItEndsAsIfUndisturbed) {
  const std::string narrow = has_bf16_units() ? "bf16" : "fp32";
  for (const auto& [recompute, compute] : {std::pair<std::string, std::string>{"block", "fp32"},
                                           {"block", narrow},
                                           {"selective", narrow}}) {
    const std::string kind = "_" + recompute + "_" + compute;
    SCOPED_TRACE(kind);
    const auto train_so = [&](std::vector<std::string> more, const std::string& name) {
      more.insert(more.end(), {"--set", "memory.mini_sequences={mlp_rows: 50, head_rows: 70}",
                               "--set", "memory.recompute=" + recompute, "--set", "threads=2",
                               "--set", "precision.compute=" + compute});
      return train(more, name + kind);
    };
    const Outcome whole = train_so({}, "whole");
    ASSERT_EQ(whole.exit_status, 0) << whole.output;
    ASSERT_EQ(train_so({"--stop-after", "5"}, "run").exit_status, 3);
    ASSERT_EQ(train_so({}, "run").exit_status, 0);
    expect_same_end("run" + kind, "whole" + kind);
  }
}

TEST_F(Resume, KilledAtManyMomentsItEndsAsIfUndisturbed) {
  ASSERT_EQ(train({}, "whole").exit_status, 0);
  for (const size_t lines : {1, 4, 5, 8, 11, 13}) {
    const std::string name = "killed-" + std::to_string(lines);
    {
      Process process(train_command({}, name), options());
      ASSERT_TRUE(wait_until(process, [&] { return logged_steps(run_dir(name)) >= lines; }));
      process.kill(SIGKILL);
      ASSERT_EQ(process.wait().signal, SIGKILL);
    }
    const Outcome outcome = train({}, name);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.output;
    expect_same_end(name, "whole");
  }
}

TEST_F(Resume, KilledWhileACheckpointIsWrittenItEndsAsIfUndisturbed) {
  ASSERT_EQ(train({}, "whole").exit_status, 0);
  for (const char* step : {"step-00000003.tmp", "step-00000009.tmp"}) {
    const std::string name = std::string("killed-in-") + step;
    const fs::path half_written = run_dir(name) / "checkpoints" / step;
    {
      Process process(train_command({}, name), options());
      ASSERT_TRUE(wait_until(process, [&] { return fs::exists(half_written); }));
      process.kill(SIGKILL);
      ASSERT_EQ(process.wait().signal, SIGKILL);
    }
    const Outcome outcome = train({}, name);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.output;
    expect_same_end(name, "whole");
  }
}

// A write beyond the limit ends the process by signal, always at the same byte of the same file.
TEST_F(Resume, CutOffInsideACheckpointFileItEndsAsIfUndisturbed) {
  ASSERT_EQ(train({}, "whole").exit_status, 0);
  int64_t largest = 0;
  for (const auto& [file, bytes] : tensor_files(checkpoint(12, "whole"))) {
    largest = std::max(largest, static_cast<int64_t>(bytes.size()));
  }
  ASSERT_EQ(train({"--stop-after", "4"}).exit_status, 3);
  ProcessOptions limited = options();
  limited.file_limit_bytes = largest / 2;
  EXPECT_EQ(Process(train_command(), limited).wait().signal, SIGXFSZ);
  EXPECT_FALSE(fs::exists(checkpoint(6)));
  const Outcome outcome = train();
  ASSERT_EQ(outcome.exit_status, 0) << outcome.output;
  expect_same_end("run", "whole");
}

TEST_F(Resume, InterruptedItFinishesTheStepSavesAndExits3) {
  ASSERT_EQ(train({}, "whole").exit_status, 0);
  for (const int number : {SIGINT, SIGTERM}) {
    const std::string name = "signal-" + std::to_string(number);
    Process process(train_command({}, name), options());
    ASSERT_TRUE(wait_until(process, [&] { return logged_steps(run_dir(name)) >= 2; }));
    process.kill(number);
    const Outcome stopped = process.wait();
    EXPECT_EQ(stopped.exit_status, 3) << stopped.output;
    EXPECT_TRUE(fs::exists(run_dir(name) / "checkpoints" / "latest" / "manifest.json"));
    ASSERT_EQ(train({}, name).exit_status, 0);
    expect_same_end(name, "whole");
  }
}

TEST_F(Resume, AFinishedRunExits0AndChangesNothing) {
  ASSERT_EQ(train().exit_status, 0);
  const auto before = metrics(run_dir());
  const Outcome again = train();
  EXPECT_EQ(again.exit_status, 0);
  EXPECT_THAT(again.output, testing::HasSubstr("finished"));
  EXPECT_EQ(metrics(run_dir()), before);
}

TEST_F(Resume, MoreStepsLoggingAndCheckpointingMayChange) {
  ASSERT_EQ(train({"--set", "stages.0.schedule.decay_steps=0"}).exit_status, 0);
  const Outcome longer =
      train({"--set", "stages.0.schedule.decay_steps=0", "--set", "stages.0.steps=14", "--set",
             "logging.every_steps=2", "--set", "checkpoint.keep=5"});
  EXPECT_EQ(longer.exit_status, 0) << longer.output;
  EXPECT_TRUE(fs::exists(checkpoint(14)));
}

TEST_F(Resume, AnotherRecipeIsRefusedAndTheDifferencesListed) {
  ASSERT_EQ(train({"--stop-after", "3"}).exit_status, 3);
  const Outcome other = train({"--set", "optim.weight_decay=0.2", "--set", "seed=6"});
  EXPECT_EQ(other.exit_status, 2);
  EXPECT_THAT(other.output, testing::HasSubstr("optim.weight_decay"));
  EXPECT_THAT(other.output, testing::HasSubstr("seed"));
  EXPECT_THAT(other.output, testing::HasSubstr("--restart"));
  EXPECT_TRUE(fs::exists(checkpoint(3)));
  const Outcome fewer =
      train({"--set", "stages.0.steps=2", "--set", "stages.0.schedule.warmup_steps=0", "--set",
             "stages.0.schedule.decay_steps=0"});
  EXPECT_EQ(fewer.exit_status, 2) << fewer.output;
}

TEST_F(Resume, ChangedTextsAreRefused) {
  ASSERT_EQ(train({"--stop-after", "3"}).exit_status, 3);
  std::string text = contents(folder() / "train" / "a.txt");
  text[100] ^= 1;
  write_text(folder() / "train" / "a.txt", text);
  const Outcome outcome = train();
  EXPECT_EQ(outcome.exit_status, 2) << outcome.output;
  EXPECT_THAT(outcome.output, testing::HasSubstr("the texts have changed"));
  EXPECT_TRUE(fs::exists(checkpoint(3)));
}

TEST_F(Resume, WhatAutoPrecisionCameToMayNotChange) {
  const std::string other = has_bf16_units() ? "fp32" : "fp64",
                    same = has_bf16_units() ? "bf16" : "fp32";
  ASSERT_EQ(train({"--set", "precision.compute=auto", "--stop-after", "3"}).exit_status, 3);
  const Outcome refused = train({"--set", "precision.compute=" + other});
  EXPECT_EQ(refused.exit_status, 2) << refused.output;
  EXPECT_THAT(refused.output,
              testing::HasSubstr("precision.compute: " + same + " in the run, " + other + " now"));
  EXPECT_EQ(train({"--set", "precision.compute=" + same}).exit_status, 0);
}

TEST_F(Resume, RestartBeginsAnewAndKeepsTheOldRunAside) {
  ASSERT_EQ(train({}, "whole").exit_status, 0);
  ASSERT_EQ(train({"--set", "seed=6", "--stop-after", "4"}).exit_status, 3);
  const Outcome again = train({"--restart"});
  ASSERT_EQ(again.exit_status, 0) << again.output;
  expect_same_end("run", "whole");
  bool kept = false;
  for (const auto& entry : fs::recursive_directory_iterator(run_dir())) {
    kept |= entry.path().filename() == "step-00000004";
  }
  EXPECT_TRUE(kept);
}

TEST_F(Resume, ASecondProcessIsKeptOutOfTheDirectory) {
  Process first(train_command(), options());
  ASSERT_TRUE(wait_until(first, [&] { return logged_steps(run_dir()) >= 1; }));
  first.kill(SIGSTOP);
  const Outcome second = train();
  first.kill(SIGCONT);
  EXPECT_EQ(second.exit_status, 2);
  EXPECT_THAT(second.output,
              testing::HasSubstr("is locked by process " + std::to_string(first.pid()) + ","));
  EXPECT_EQ(first.wait().exit_status, 0);
}

TEST_F(Resume, KeepsTheNewestAndEveryMth) {
  ASSERT_EQ(train({"--set", "checkpoint={every_steps: 2, keep: 2, keep_every: 4}"}).exit_status, 0);
  for (const int step : {4, 8, 10, 12}) EXPECT_TRUE(fs::exists(checkpoint(step))) << step;
  for (const int step : {2, 6}) EXPECT_FALSE(fs::exists(checkpoint(step))) << step;
  EXPECT_EQ(fs::read_symlink(run_dir() / "checkpoints" / "latest"), "step-00000012");
}

}  // namespace
}  // namespace weft
