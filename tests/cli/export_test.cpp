// `weft export` of a run's checkpoint.
#include <gtest/gtest.h>

#include "tests/cli/run_fixture.h"

namespace weft {
namespace {

class ExportCommand : public RunTest {};

// Documents end with id 256 of the bytes tokenizer, and the first of a prompt follows such an end.
TEST_F(ExportCommand, ARunsExportHasItsOwnSpecialTokens) {
  const Outcome trained =
      train({"--set", "stages.0.steps=1", "--set", "stages.0.schedule.warmup_steps=0", "--set",
             "stages.0.schedule.decay_steps=0", "--set", "model.pad_token_id=7"});
  ASSERT_EQ(trained.exit_status, 0) << trained.output;
  const Outcome exported = weft({"export", "run", "--out", "exported"});
  ASSERT_EQ(exported.exit_status, 0) << exported.output;
  const auto json = [&](const char* name) {
    return nlohmann::json::parse(contents(folder() / "exported" / name));
  };
  const nlohmann::json config = json("config.json");
  EXPECT_EQ(config.at("model_type"), "jamba");
  EXPECT_EQ(config.at("vocab_size"), 257);
  EXPECT_EQ(config.at("bos_token_id"), 256);
  EXPECT_EQ(config.at("eos_token_id"), 256);
  EXPECT_EQ(config.at("pad_token_id"), 7);
  EXPECT_EQ(json("generation_config.json"), (nlohmann::json{{"_from_model_config", true},
                                                            {"bos_token_id", 256},
                                                            {"eos_token_id", 256},
                                                            {"pad_token_id", 7}}));
  // An import of it keeps them.
  ASSERT_EQ(weft({"import", "exported", "--out", "imported"}).exit_status, 0);
  ASSERT_EQ(weft({"export", "imported", "--out", "again"}).exit_status, 0);
  for (const char* name : {"config.json", "generation_config.json"}) {
    EXPECT_EQ(contents(folder() / "again" / name), contents(folder() / "exported" / name)) << name;
  }
}

}  // namespace
}  // namespace weft
