// Training that goes on from somebody's checkpoint, and what it gives back.
#include <cstdlib>

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/huggingface/folder.h"
#include "parallel/tensor_store.h"
#include "tests/cli/continue_fixture.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

using testing::HasSubstr;
using testing::Not;

double loss_in(const std::string& output) {
  const size_t at = output.find("loss=");
  return at == std::string::npos ? -1 : std::strtod(output.c_str() + at + 5, nullptr);
}

class ContinueFamily : public Continue, public testing::WithParamInterface<const char*> {};

TEST_P(ContinueFamily, StartsFromTheSourcesWeightsAndGivesThemBack) {
  copy_fixture(GetParam());
  const Outcome outcome = change_nothing();
  ASSERT_EQ(outcome.exit_status, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("starting from source\n"));
  const Outcome eval = weft({"eval", "source", "held", "--end-id", "2", "--sequence-length", "12",
                             "--device", "cpu", "--compute", "fp32"});
  ASSERT_EQ(eval.exit_status, 0) << eval.output;
  const nlohmann::json row = held();
  ASSERT_TRUE(row.contains("validation.held.loss"));
  // eval prints six digits.
  EXPECT_NEAR(row["validation.held.loss"].get<double>(), loss_in(eval.output), 2e-6);
  EXPECT_FALSE(row.contains("validation.held.bits_per_byte"));
  const Outcome exported = weft({"export", "run", "--out", "out"});
  ASSERT_EQ(exported.exit_status, 0) << exported.output;
  expect_given_back(path("out"));
}

TEST_P(ContinueFamily, AnExportHasTheMastersOfTheCheckpoint) {
  copy_fixture(GetParam());
  ASSERT_EQ(go_on({"--stop-after", "2"}).exit_status, 3);
  ASSERT_EQ(weft({"export", "run", "--out", "out"}).exit_status, 0);
  EXPECT_EQ(json_of(path("out") / "config.json"), with_run_end(json_of(source() / "config.json")));
  expect_same_files(path("out"));
  const auto before = HfFolder::open(source()), after = HfFolder::open(path("out"));
  const auto store = TensorStore::open(checkpoint(2), TensorStore::Verify::kFull);
  ASSERT_TRUE(before.ok() && after.ok() && store.ok());
  int changed = 0;
  for (const ParameterSpec& row : after->table().rows()) {
    const Tensor old = at::empty(row.shape, at::kFloat), now = at::empty(row.shape, at::kFloat),
                 master = at::empty(row.shape, at::kFloat);
    before->read(row, old);
    after->read(row, now);
    ASSERT_EQ(store->dtype(row.name), at::kFloat) << row.name;
    ASSERT_TRUE(store->read(row.name, master).ok()) << row.name;
    EXPECT_TRUE(at::equal(now, master)) << row.name;
    changed += at::equal(now, old) ? 0 : 1;
  }
  EXPECT_GT(changed, 0);
}

INSTANTIATE_TEST_SUITE_P(All, ContinueFamily,
                         testing::Values("gpt2", "jamba", "llama", "mamba", "mamba2", "mixtral",
                                         "openelm"),
                         [](const auto& info) { return std::string(info.param); });

TEST_F(Continue, GoesOnWithoutTheSourceOnceThereIsACheckpoint) {
  for (const char* family : {"llama", "mamba2", "jamba"}) {
    fs::remove_all(source());
    copy_fixture(family);
    const std::string whole = std::string(family) + "-whole", run = std::string(family) + "-run";
    ASSERT_EQ(go_on({}, whole).exit_status, 0) << family;
    const Outcome stopped = go_on({"--stop-after", "2"}, run);
    ASSERT_EQ(stopped.exit_status, 3) << stopped.output;
    fs::rename(source(), path(std::string(family) + "-gone"));
    const Outcome resumed = go_on({}, run);
    ASSERT_EQ(resumed.exit_status, 0) << resumed.output;
    EXPECT_THAT(resumed.output, HasSubstr("after 2 updates"));
    EXPECT_EQ(tensor_files(checkpoint(4, run)), tensor_files(checkpoint(4, whole))) << family;
    EXPECT_EQ(metrics(run_dir(run)), metrics(run_dir(whole))) << family;
    // The files that came with the weights are in the later checkpoints too.
    const std::string out = std::string(family) + "-out";
    ASSERT_EQ(weft({"export", run, "--out", out}).exit_status, 0) << family;
    EXPECT_EQ(contents(path(out) / "tokenizer.json"), kTokenizerText) << family;
  }
}

TEST_F(Continue, ARunThatBeginsNeedsTheSourceAndLeavesNothingBehind) {
  const std::string missing = "continue.yaml:5:33: init.path: 'source' does not exist";
  const Outcome outcome = go_on();
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_THAT(outcome.output, HasSubstr(missing));
  EXPECT_FALSE(fs::exists(run_dir()));
  const Outcome validated = weft({"validate", "continue.yaml"});
  EXPECT_EQ(validated.exit_status, 2);
  EXPECT_THAT(validated.output, HasSubstr(missing));
  copy_fixture("llama");
  ASSERT_EQ(go_on({"--stop-after", "1"}).exit_status, 3);
  fs::remove_all(source());
  EXPECT_EQ(go_on({"--restart"}).exit_status, 2);
  EXPECT_TRUE(fs::exists(checkpoint(1)));
}

TEST_F(Continue, WeightsThatDoNotFitAreNamedBeforeAnythingStarts) {
  copy_fixture("llama");
  Json config = json_of(source() / "config.json");
  config["intermediate_size"] = 25;
  fs::remove(source() / "config.json");
  write_text(source() / "config.json", config.dump());
  const Outcome outcome = go_on();
  EXPECT_EQ(outcome.exit_status, 2);
  EXPECT_THAT(outcome.output, HasSubstr("continue.yaml:5:33: init.path: source: tensor "
                                        "'model.layers.0.mlp."));
  EXPECT_THAT(outcome.output, HasSubstr("config.json makes it [25, 16]"));
  EXPECT_FALSE(fs::exists(run_dir()));
}

TEST_F(Continue, ACheckpointThatGoesOnHandsOnModelAndFiles) {
  copy_fixture("llama");
  ASSERT_EQ(go_on({"--stop-after", "2"}, "first").exit_status, 3);
  fs::remove_all(source());
  for (const std::string from : {"first", "first/checkpoints/step-00000002"}) {
    const std::string second = "second-" + std::to_string(from.size()), out = second + "-out";
    const Outcome outcome =
        change_nothing({"--set", "init={from: checkpoint, path: " + from + "}"}, second);
    ASSERT_EQ(outcome.exit_status, 0) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("step-00000002, update 2\n"));
    const auto expected = TensorStore::open(checkpoint(2, "first"), TensorStore::Verify::kFull);
    const auto actual = TensorStore::open(checkpoint(1, second), TensorStore::Verify::kFull);
    ASSERT_TRUE(expected.ok() && actual.ok());
    for (const std::string& name : expected->names()) {
      if (name.ends_with(".m") || name.ends_with(".v")) continue;
      EXPECT_TRUE(at::equal(actual->view(name), expected->view(name))) << name;
    }
    ASSERT_EQ(weft({"export", second, "--out", out}).exit_status, 0);
    EXPECT_EQ(contents(path(out) / "tokenizer.json"), kTokenizerText);
    EXPECT_EQ(json_of(path(out) / "config.json")["architectures"][0], "LlamaForCausalLM");
  }
}

TEST_F(Continue, AnImportedCheckpointIsWorthItsSource) {
  copy_fixture("jamba");
  ASSERT_EQ(weft({"import", "source", "--out", "imported"}).exit_status, 0);
  ASSERT_EQ(go_on({"--stop-after", "2"}, "direct").exit_status, 3);
  const Outcome outcome =
      go_on({"--stop-after", "2", "--set", "init={from: checkpoint, path: imported}"}, "run");
  ASSERT_EQ(outcome.exit_status, 3) << outcome.output;
  EXPECT_EQ(tensor_files(checkpoint(2)), tensor_files(checkpoint(2, "direct")));
  const Outcome refused = go_on({"--set", "init={from: huggingface, path: imported}"}, "refused");
  EXPECT_EQ(refused.exit_status, 2);
  EXPECT_THAT(refused.output, HasSubstr("'imported' is no Hugging Face folder"));
}

TEST_F(Continue, AGivenModelMayComputeOtherwiseWithTheSameTensors) {
  copy_fixture("llama");
  write_text(path("continue.yaml"), std::string(kContinue) + kLlamaModel);
  const Outcome same = change_nothing({}, "same");
  ASSERT_EQ(same.exit_status, 0) << same.output;
  EXPECT_THAT(same.output, Not(HasSubstr("differs")));
  const Outcome longer = change_nothing({"--set", "model.rope.theta=20000"}, "longer");
  ASSERT_EQ(longer.exit_status, 0) << longer.output;
  const std::string difference =
      "the model differs from the one it starts from: model.rope.theta: 10000 there, 20000 here";
  EXPECT_THAT(longer.output, HasSubstr(difference));
  EXPECT_THAT(contents(run_dir("longer") / "log.0.txt"), HasSubstr(difference));
  EXPECT_NE(held("longer")["validation.held.loss"], held("same")["validation.held.loss"]);
  ASSERT_EQ(weft({"export", "longer", "--out", "out"}).exit_status, 0);
  const Json exported = json_of(path("out") / "config.json");
  EXPECT_EQ(exported["rope_theta"], 20000.0);
  EXPECT_FALSE(exported.contains("rope_parameters"));
  const Outcome wider = change_nothing({"--set", "model.vocab_size=32"}, "wider");
  EXPECT_EQ(wider.exit_status, 2);
  EXPECT_THAT(wider.output,
              HasSubstr("model: must have the tensors of 'source': 'embedding.weight' is [32, 16] "
                        "here, [31, 16] there"));
  EXPECT_FALSE(fs::exists(run_dir("wider")));
}

TEST_F(Continue, AnExportNamesTheEndOfTheRunsDocuments) {
  copy_fixture("llama");
  const auto exported = [&](const std::string& name) {
    const Outcome trained = change_nothing({"--set", "stages.0.data.tokenizer.end_id=0"}, name);
    EXPECT_EQ(trained.exit_status, 0) << trained.output;
    EXPECT_EQ(weft({"export", name, "--out", name + "-out"}).exit_status, 0);
    return path(name + "-out");
  };
  const fs::path other = exported("other");
  for (const char* file : {"config.json", "generation_config.json"}) {
    Json expected = json_of(source() / file);
    ASSERT_EQ(expected["eos_token_id"], 2);
    expected["bos_token_id"] = expected["eos_token_id"] = 0;
    EXPECT_EQ(json_of(other / file), expected) << file;
  }
  // One of several ends of generation_config.json, which stands above config.json.
  const std::string ends = R"({"eos_token_id": [5, 0]})";
  fs::remove(source() / "generation_config.json");
  write_text(source() / "generation_config.json", ends);
  const fs::path same = exported("same");
  EXPECT_EQ(contents(same / "generation_config.json"), ends);
  EXPECT_EQ(json_of(same / "config.json"), json_of(source() / "config.json"));
  // One that cannot be read does not stand in the way.
  fs::remove(source() / "generation_config.json");
  write_text(source() / "generation_config.json", "[");
  EXPECT_EQ(json_of(exported("anew") / "generation_config.json"),
            (Json{{"_from_model_config", true}, {"bos_token_id", 0}, {"eos_token_id", 0}}));
}

TEST_F(Continue, ARunDoesNotStartFromItsOwnDirectory) {
  copy_fixture("llama");
  ASSERT_EQ(go_on({"--stop-after", "2"}).exit_status, 3);
  fs::create_directory_symlink("run", path("link"));
  for (const std::string from : {"run", "link/checkpoints/step-00000002"}) {
    const Outcome outcome =
        go_on({"--restart", "--set", "init={from: checkpoint, path: " + from + "}"});
    EXPECT_EQ(outcome.exit_status, 2);
    EXPECT_THAT(outcome.output, HasSubstr("init.path: '" + from + "' lies in the run directory " +
                                          "'run', which must be another one"));
    EXPECT_TRUE(fs::exists(checkpoint(2)));
  }
}

TEST_F(Continue, OneKeyOfTheModelMayBeChangedAlone) {
  copy_fixture("llama");
  const Outcome longer = go_on({"--stop-after", "1", "--set", "model.rope.theta=20000"});
  ASSERT_EQ(longer.exit_status, 3) << longer.output;
  EXPECT_THAT(longer.output, HasSubstr("the model differs from the one it starts from: "
                                       "model.rope.theta: 10000 there, 20000 here"));
  // It goes on with its own model, and not with another one.
  EXPECT_EQ(go_on({"--stop-after", "2", "--set", "model.rope.theta=20000"}).exit_status, 3);
  const Outcome other = go_on({"--set", "model.rope.theta=30000"});
  EXPECT_EQ(other.exit_status, 2);
  EXPECT_THAT(other.output, HasSubstr("model.rope.theta: 20000 in the run, 30000 now"));
}

TEST_F(Continue, TheOtherCommandsTakeItsCheckpoints) {
  copy_fixture("llama");
  ASSERT_EQ(change_nothing().exit_status, 0);
  fs::rename(source(), path("other"));
  const Outcome info = weft({"info", "run"});
  EXPECT_EQ(info.exit_status, 0) << info.output;
  EXPECT_THAT(info.output, HasSubstr("huggingface.config.json"));
  EXPECT_THAT(info.output, HasSubstr("continued: llama, 2 layers, hidden_size 16, vocabulary 31"));
  const Outcome eval = weft({"eval", "run", "held"});
  ASSERT_EQ(eval.exit_status, 0) << eval.output;
  EXPECT_NEAR(loss_in(eval.output), held()["validation.held.loss"].get<double>(), 2e-6);
  EXPECT_THAT(eval.output, Not(HasSubstr("bits_per_byte")));
  write_text(path("ids.json"), "[[5, 17, 3, 9], [8]]");
  for (const std::string name : {"run", "other"}) {
    const Outcome logits = weft({"logits", name, "--ids", "ids.json", "--out", name + ".logits",
                                 "--device", "cpu", "--compute", "fp32"});
    ASSERT_EQ(logits.exit_status, 0) << logits.output;
  }
  const SafetensorsFile ours = opened(path("run.logits")), theirs = opened(path("other.logits"));
  ASSERT_EQ(ours.entries().size(), 4u);
  for (const SafetensorsEntry& entry : theirs.entries()) {
    ASSERT_NE(ours.find(entry.name), nullptr) << entry.name;
    const Tensor a = ours.read(*ours.find(entry.name)), b = theirs.read(entry);
    EXPECT_LE(max_difference(a, b), 1e-6 * max_magnitude(b)) << entry.name;
  }
  const Outcome ids =
      weft({"generate", "run", "--ids", "5,17", "--temperature", "0", "--max-tokens", "3"});
  EXPECT_EQ(ids.exit_status, 0) << ids.output;
  const Outcome text = weft({"generate", "run", "--prompt", "word"});
  EXPECT_EQ(text.exit_status, 2);
  EXPECT_THAT(text.output, HasSubstr("was trained on token ids; give token ids instead of text"));
}

}  // namespace
}  // namespace weft
