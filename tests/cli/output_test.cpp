// What is printed and lost, as on a full disk, is a failure of every command that prints results.
#include "tests/cli/hf_fixture.h"

namespace weft {
namespace {

class FullOutput : public HfTest {
 protected:
  // Runs `weft` with standard output on a disk that is full.
  Outcome lost(std::vector<std::string> arguments) const {
    const std::vector<std::string> shell = {"/bin/sh", "-c", "exec \"$0\" \"$@\" > /dev/full",
                                            WEFT_BINARY_DIR "/weft"};
    arguments.insert(arguments.begin(), shell.begin(), shell.end());
    ProcessOptions options;
    options.folder = path("");
    return Process(arguments, options).wait();
  }
};

TEST_F(FullOutput, IsAFailureOfEveryCommandThatPrints) {
  copy("llama");
  write_text(path("prompts.jsonl"), "{\"ids\": [1, 2]}\n{\"ids\": [3]}\n{\"ids\": [4]}\n");
  write_text(path("task.jsonl"),
             R"({"context_ids": [1, 7], "choices_ids": [[8, 9], [5]], "answer": 0})");
  const std::vector<std::vector<std::string>> commands = {
      {"explain"},
      {"explain", "optim.betas"},
      {"explain", "--markdown"},
      {"validate", WEFT_SOURCE_DIR "/configs/quickstart.yaml"},
      {"info", "llama"},
      {"info", "llama", "--context", "8"},
      {"eval", "llama", "task.jsonl", "task.jsonl"},
      {"generate", "llama", "--ids", "1,2", "--max-tokens", "3"},
      {"generate", "llama", "--ids", "1,2", "--max-tokens", "0"},
      {"generate", "llama", "--prompts", "prompts.jsonl", "--max-tokens", "3"}};
  for (const std::vector<std::string>& command : commands) {
    const Outcome outcome = lost(command);
    EXPECT_EQ(outcome.exit_status, 1) << command[0];
    EXPECT_EQ(outcome.output, "standard output: cannot be written: No space left on device\n")
        << command[0];
  }
}

}  // namespace
}  // namespace weft
