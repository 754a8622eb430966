// A step that finds no memory ends the run with words that help.
#include <regex>
#include <string>

#include <sys/resource.h>

#include "tests/cli/run_fixture.h"

namespace weft {
namespace {

class MemoryLimitTest : public RunTest {
 protected:
  // Bytes of anonymous memory that a process has, as RLIMIT_DATA counts them.
  static int64_t anonymous_bytes(const Process& process) {
    const std::string status = contents("/proc/" + std::to_string(process.pid()) + "/status");
    std::smatch kib;
    WEFT_CHECK(std::regex_search(status, kib, std::regex("VmData:\\s+(\\d+) kB")), status);
    return std::stoll(kib[1]) * 1024;
  }
};

// Its second stage has steps 500 times as large, for which the first one's limit leaves no room:
// what was asked for, what there is, and keys that would make it fit. Its checkpoint is whole.
TEST_F(MemoryLimitTest, AStepThatDoesNotFitSaysWhatWouldAndExitsWith1) {
  std::string recipe = kRecipe;
  const size_t begin = recipe.find("stages:"), end = recipe.find("precision:");
  const auto stage = [](const std::string& name, int steps, int tokens) {
    const std::string count = std::to_string(tokens);
    return "  - name: " + name + "\n    steps: " + std::to_string(steps) +
           "\n    sequence_length: 48\n    batch_tokens: " + count +
           "\n    micro_batch_tokens: " + count +
           "\n    data: {sources: [{path: train}], validation: [{name: held, path: valid}]}\n"
           "    schedule: {kind: wsd, peak: 1.0e-2, warmup_steps: 2, decay_steps: 2}\n";
  };
  recipe.replace(begin, end - begin,
                 "stages:\n" + stage("short", 300, 384) + stage("long", 12, 192'000));
  write_text(folder() / "tiny.yaml", recipe);
  Process process(train_command({"--set", "checkpoint.every_steps=100"}), options());
  ASSERT_TRUE(wait_until(process, [&] {
    return contents(run_dir() / "metrics.jsonl").find("\"step\":5,") != std::string::npos;
  })) << process.wait().output;
  const rlim_t most = static_cast<rlim_t>(anonymous_bytes(process)) + (rlim_t{400} << 20);
  const rlimit limit{most, most};
  ASSERT_EQ(prlimit(process.pid(), RLIMIT_DATA, &limit, nullptr), 0);
  const Outcome outcome = process.wait();
  EXPECT_EQ(outcome.exit_status, 1) << outcome.output;
  for (const char* words :
       {"training does not fit into memory: it asked for", "this process may have", "(ulimit -d)",
        "of which this recipe was expected to take", "it fits with stages."}) {
    EXPECT_NE(outcome.output.find(words), std::string::npos) << words << "\n" << outcome.output;
  }
  EXPECT_TRUE(fs::exists(checkpoint(300) / "manifest.json"));
}

}  // namespace
}  // namespace weft
