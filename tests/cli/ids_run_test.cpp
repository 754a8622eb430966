// A run that was trained on token ids, for the commands that take its checkpoint.
#include <gmock/gmock.h>

#include "tests/cli/continue_fixture.h"

namespace weft {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

class IdsRun : public Continue {
 protected:
  // One update, on longer sequences than an evaluation of a published model takes by default.
  void SetUp() override {
    Continue::SetUp();
    copy_fixture("llama");
    const Outcome trained = go_on({"--stop-after", "1", "--set", "stages.0.sequence_length=4096",
                                   "--set", "stages.0.batch_tokens=4096"});
    ASSERT_EQ(trained.exit_status, 3) << trained.output;
  }
};

TEST_F(IdsRun, IsEvaluatedAtTheLengthThatItWasTrainedOn) {
  const Outcome longest = weft({"eval", "run", "held", "--context", "4096"});
  EXPECT_EQ(longest.exit_status, 2);
  EXPECT_EQ(longest.output, "--context: is 4096, must be below the sequence length (4096)\n");
  EXPECT_EQ(weft({"eval", "run", "held", "--context", "4095"}).exit_status, 0);
  // The same weights, published.
  const Outcome published = weft({"eval", "source", "held", "--context", "64"});
  EXPECT_EQ(published.exit_status, 2);
  EXPECT_EQ(published.output, "--context: is 64, must be below the sequence length (64)\n");
}

// Its recipe says which token ends a document: 2.
TEST_F(IdsRun, IsEvaluatedWithTheEndOfItsDocuments) {
  const Outcome usual = weft({"eval", "run", "held"});
  EXPECT_EQ(usual.exit_status, 0);
  // Its bytes are not known.
  EXPECT_THAT(usual.output, MatchesRegex("held: loss=[0-9.]+ perplexity=[0-9.]+ .*\n"));
  EXPECT_THAT(usual.output, Not(HasSubstr("byte")));
  EXPECT_EQ(weft({"eval", "run", "held", "--end-id", "2"}).output, usual.output);
  EXPECT_NE(weft({"eval", "run", "held", "--end-id", "0"}).output, usual.output);
}

TEST_F(IdsRun, HasNoTextAndSaysSo) {
  const std::string message =
      "run/checkpoints/step-00000001: was trained on token ids; give token ids instead of text\n";
  const Outcome prompt = weft({"generate", "run", "--prompt", "hello"});
  EXPECT_EQ(prompt.exit_status, 2);
  EXPECT_EQ(prompt.output, message);
  write_text(path("text.txt"), "some text");
  const Outcome text = weft({"eval", "run", "text.txt"});
  EXPECT_EQ(text.exit_status, 2);
  EXPECT_EQ(text.output, "text.txt: " + message);
  EXPECT_EQ(weft({"generate", "run", "--ids", "5,6", "--max-tokens", "2"}).exit_status, 0);
}

}  // namespace
}  // namespace weft
