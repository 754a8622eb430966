// Damaged and impossible input through the program: a clear message, nothing lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/run_fixture.h"

namespace weft {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using Damage = RunTest;

void truncate_file(const fs::path& path) { fs::resize_file(path, fs::file_size(path) / 2); }

void flip_bit(const fs::path& path) {
  std::string bytes = contents(path);
  bytes[bytes.size() / 2] ^= 0x10;
  std::ofstream(path, std::ios::binary) << bytes;
}

fs::path first_tensor_file(const fs::path& checkpoint) {
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    if (entry.path().extension() == ".safetensors") return entry.path();
  }
  return {};
}

TEST_F(Damage, ADamagedCheckpointIsNamedAndTheOneBeforeIsUsed) {
  ASSERT_EQ(train({}, "whole").exit_status, 0);
  for (void (*damage)(const fs::path&) : {truncate_file, flip_bit}) {
    fs::remove_all(run_dir());
    ASSERT_EQ(train({"--stop-after", "7"}).exit_status, 3);
    const fs::path file = first_tensor_file(checkpoint(7));
    damage(file);
    const Outcome outcome = train();
    EXPECT_EQ(outcome.exit_status, 0) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(file.filename().string()));
    EXPECT_THAT(outcome.output, HasSubstr("step-00000006"));
    expect_same_end("run", "whole");
  }
}

TEST_F(Damage, WithEveryCheckpointDamagedItNeverStartsAfresh) {
  ASSERT_EQ(train({"--stop-after", "7"}).exit_status, 3);
  flip_bit(first_tensor_file(checkpoint(7)));
  truncate_file(first_tensor_file(checkpoint(6)));
  const Outcome outcome = train();
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_THAT(outcome.output, HasSubstr("step-00000006"));
  EXPECT_THAT(outcome.output, HasSubstr("step-00000007"));
  EXPECT_THAT(outcome.output, HasSubstr("--restart"));
}

TEST_F(Damage, AnUnwritableRunDirectoryIsNamed) {
  write_text(folder() / "file", "not a folder");
  const Outcome outcome = train({}, "file/run");
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_THAT(outcome.output, HasSubstr("file/run"));
}

TEST_F(Damage, AFullDiskEndsTheRunAndTheLastCheckpointStillLoads) {
  ASSERT_EQ(train({}, "whole").exit_status, 0);
  ASSERT_EQ(train({"--stop-after", "4"}).exit_status, 3);
  ProcessOptions full = options();
  full.file_limit_bytes = static_cast<int64_t>(fs::file_size(first_tensor_file(checkpoint(4))) / 2);
  full.ignore_file_limit_signal = true;
  const Outcome outcome = Process(train_command(), full).wait();
  EXPECT_EQ(outcome.exit_status, 1) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("safetensors"));
  EXPECT_TRUE(fs::exists(checkpoint(4) / "manifest.json"));
  EXPECT_FALSE(fs::exists(checkpoint(6)));
  ASSERT_EQ(train().exit_status, 0);
  expect_same_end("run", "whole");
}

// The same on a real disk: a tmpfs of 8 MiB, in a mount namespace of its own.
class SmallDisk : public RunTest {
 protected:
  void SetUp() override {
    RunTest::SetUp();
    if (in_namespace({"/bin/mount", "-t", "tmpfs", "tmpfs", "/mnt"}).exit_status != 0) {
      GTEST_SKIP() << "this process may not mount a tmpfs";
    }
    fs::create_directory(folder() / "disk");
  }

  // Runs lines of bash with the disk mounted on disk/. `train` trains in disk/run and prints the
  // exit status, `fill N` leaves N bytes free.
  Outcome script(const std::string& lines) {
    write_text(folder() / "script", R"(
      mount -t tmpfs -o size=8m tmpfs disk
      weft=)" WEFT_BINARY_DIR R"(/weft
      train() {
        local status=0
        $weft train tiny.yaml --run-dir disk/run "$@" || status=$?
        echo "status $status"
      }
      fill() {
        dd if=/dev/zero of=disk/filler bs=4k status=none 2>filler.log || true
        truncate -s "-$1" disk/filler
      }
)" + lines);
    return in_namespace({"/bin/bash", "-eu", "script"});
  }

 private:
  Outcome in_namespace(std::vector<std::string> command) {
    const std::vector<std::string> with = {"/usr/bin/unshare", "--map-root-user", "--mount"};
    command.insert(command.begin(), with.begin(), with.end());
    return Process(command, options()).wait();
  }
};

TEST_F(SmallDisk, FullBeforeTheRunStartsIsRefusedAndNothingIsLost) {
  ASSERT_EQ(train({}, "whole").exit_status, 0);
  const Outcome outcome = script(R"(
      train --stop-after 4
      for free in 0 64K; do fill $free; train; done
      rm disk/filler
      train
      fill 0
      train
      cp -a disk/run run
)");
  EXPECT_EQ(outcome.exit_status, 0) << outcome.output;
  EXPECT_THAT(outcome.output,
              ContainsRegex("status 3(.|\n)*No space left on device\n"
                            "status 2(.|\n)*has 65536 bytes free.*\n"
                            "status 2(.|\n)*status 0(.|\n)*all updates are done.*\nstatus 0"));
  expect_same_end("run", "whole");
}

TEST_F(SmallDisk, FullDuringTheRunEndsItAndTheLastCheckpointStillLoads) {
  const Outcome outcome = script(R"sh(
      { until [[ -e disk/run/checkpoints/latest ]]; do sleep 0.01; done; fill 0; } &
      train --set stages.0.steps=1000000
      wait
      rm disk/filler
      last=$(basename "$(readlink disk/run/checkpoints/latest)")
      echo "last $last"
      train --set stages.0.steps=1000000 --stop-after $((10#${last#step-} + 1))
)sh");
  EXPECT_EQ(outcome.exit_status, 0) << outcome.output;
  EXPECT_THAT(outcome.output,
              ContainsRegex("No space left on device\n(.|\n)*status 1\nlast step-[0-9]*\n"
                            "(.|\n)*resuming from disk/run/checkpoints/step(.|\n)*status 3"));
}

TEST_F(Damage, AnEmptyCorpusIsRefused) {
  fs::remove_all(folder() / "train");
  write_text(folder() / "train" / "empty.txt", "");
  const Outcome outcome = train();
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_THAT(outcome.output, HasSubstr("train"));
  EXPECT_FALSE(fs::exists(run_dir()));
}

// A pair with one document of the given u16 ids (spec/formats.md 2).
void write_shards(const fs::path& prefix, const std::vector<uint16_t>& ids,
                  int32_t claimed_length) {
  std::string bin, idx("MMIDIDX\0\0", 9);
  const auto append = [](std::string& text, auto value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  for (const uint16_t id : ids) append(bin, id);
  append(idx, uint64_t{1});
  append(idx, uint8_t{8});
  append(idx, uint64_t{1});
  append(idx, uint64_t{2});
  append(idx, claimed_length);
  append(idx, int64_t{0});
  append(idx, int64_t{0});
  append(idx, int64_t{1});
  write_text(prefix.string() + ".bin", bin);
  write_text(prefix.string() + ".idx", idx);
}

TEST_F(Damage, ATokenBeyondTheVocabularyIsNamed) {
  std::vector<uint16_t> ids(500, 65);
  ids[123] = 300;
  write_shards(folder() / "shards", ids, 500);
  const Outcome outcome = train({"--set", "stages.0.data.sources=[{path: shards}]"});
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_THAT(outcome.output, HasSubstr("300"));
  EXPECT_THAT(outcome.output, HasSubstr("123"));
  EXPECT_FALSE(fs::exists(run_dir()));
}

TEST_F(Damage, AnIndexThatLiesAboutLengthsIsRefused) {
  write_shards(folder() / "shards", std::vector<uint16_t>(500, 65), 501);
  const Outcome outcome = train({"--set", "stages.0.data.sources=[{path: shards}]"});
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_THAT(outcome.output, HasSubstr("shards.idx"));
}

TEST_F(Damage, ANonFiniteLossIsSkippedThenStopsTheRun) {
  const Outcome outcome = train({"--set", "stages.0.schedule.peak=100", "--set",
                                 "stages.0.schedule.decay_steps=0", "--set", "optim.clip_norm=0",
                                 "--set", "guard.stop_after=2", "--set", "stages.0.steps=200"});
  EXPECT_EQ(outcome.exit_status, 1) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("guard.stop_after"));
}

// With weights that stay as they are (no learning rate to speak of), gradients are the same whether
// updates before them were skipped or not.
TEST_F(Damage, ASkippedUpdateLeavesNothingToTheNext) {
  const auto norms = [&](const char* spike_factor) {
    const std::string name = std::string("factor-") + spike_factor;
    const Outcome outcome =
        train({"--set", "stages.0.steps=32", "--set", "stages.0.schedule.peak=1e-12", "--set",
               std::string("guard.spike_factor=") + spike_factor},
              name);
    EXPECT_EQ(outcome.exit_status, 0) << outcome.output;
    std::vector<double> norms;
    for (const nlohmann::json& row : metrics(run_dir(name))) {
      if (row.contains("grad_norm")) norms.push_back(row["grad_norm"]);
    }
    EXPECT_EQ(outcome.output.find(" skipped: loss ") != std::string::npos, *spike_factor == '1');
    return norms;
  };
  const std::vector<double> expected = norms("0");
  ASSERT_EQ(expected.size(), 32u);
  const std::vector<double> actual = norms("1");
  ASSERT_EQ(actual.size(), 32u);
  for (size_t i = 0; i < 32; ++i) EXPECT_NEAR(actual[i], expected[i], 1e-5 * expected[i]) << i;
}

TEST_F(Damage, ACheckpointThatIsNoneIsRefusedByEveryCommand) {
  write_text(folder() / "nothing" / "x", "");
  for (const char* command : {"generate", "info"}) {
    const Outcome outcome = weft({command, "nothing"});
    EXPECT_EQ(outcome.exit_status, 2) << command << ": " << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("nothing"));
  }
}

}  // namespace
}  // namespace weft
