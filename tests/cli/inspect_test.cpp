// `weft logits` and `weft grads` as a user calls them: the files that they write, the same from a
// folder and from its import, and what they refuse.
#include <cmath>
#include <map>

#include <ATen/TensorOperators.h>

#include "tests/cli/hf_fixture.h"
#include "tests/support/closeness.h"

namespace weft {
namespace {

using testing::HasSubstr;

class Inspect : public HfTest {
 protected:
  // A command that says nothing and writes `out`, on the CPU.
  void inspect(const std::string& command, const std::string& model, const std::string& ids,
               const std::string& out) const {
    expect_done({command, model, "--ids", ids, "--out", out, "--device", "cpu"}, "");
  }
  // Names and shapes of a file, all of them fp32.
  std::map<std::string, std::vector<int64_t>> shapes(const std::string& name) const {
    std::map<std::string, std::vector<int64_t>> shapes;
    const SafetensorsFile file = opened(name);
    for (const SafetensorsEntry& entry : file.entries()) {
      EXPECT_EQ(entry.dtype, at::kFloat) << entry.name;
      shapes[entry.name] = entry.shape;
    }
    return shapes;
  }
};

TEST_F(Inspect, LogitsOfAFolderAndOfItsImportAreTheSameBits) {
  for (const std::string family : kHfFamilies) {
    SCOPED_TRACE(family);
    copy(family);
    const std::string checkpoint = family + "-checkpoint";
    ASSERT_EQ(weft({"import", family, "--out", checkpoint}).exit_status, 0);
    inspect("logits", family, "ids.json", "a.safetensors");
    inspect("logits", checkpoint, "ids.json", "b.safetensors");
    EXPECT_EQ(shapes("a.safetensors"),
              (std::map<std::string, std::vector<int64_t>>{{"logits.0", {1, 31}},
                                                           {"logits.1", {6, 31}},
                                                           {"logits.2", {13, 31}},
                                                           {"loss.0", {}},
                                                           {"loss.1", {}},
                                                           {"loss.2", {}}}));
    EXPECT_TRUE(contents(path("a.safetensors")) == contents(path("b.safetensors")));
    const SafetensorsFile ours = opened("a.safetensors");
    const SafetensorsFile theirs = opened_file(fixture(family) / "reference.safetensors");
    EXPECT_EQ(ours.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
    for (const SafetensorsEntry& entry : ours.entries()) {
      const Tensor expected = theirs.read(*theirs.find(entry.name));
      // The tolerance of logits in tests/parity.
      EXPECT_LE(max_difference(ours.read(entry), expected), 1e-5 * max_magnitude(expected))
          << entry.name;
    }
    EXPECT_EQ(ours.read(*ours.find("loss.0")).item<float>(), 0.0F);  // one token: no target
  }
}

// Eleven sequences: in the order of names 10 stands before 2.
TEST_F(Inspect, EverySequenceHasItsOwnNumber) {
  copy("llama");
  std::string ids;
  for (int i = 1; i <= 11; ++i) {
    ids += i == 1 ? "[[" : "], [";
    for (int j = 0; j < i; ++j) ids += (j == 0 ? "" : ", ") + std::to_string((7 * i + j) % 31);
  }
  write_text(path("many.json"), ids + "]]");
  inspect("logits", "llama", "many.json", "many.safetensors");
  const auto many = shapes("many.safetensors");
  ASSERT_EQ(many.size(), 22u);
  for (int64_t i = 0; i < 11; ++i) {
    EXPECT_EQ(many.at("logits." + std::to_string(i)), (std::vector<int64_t>{i + 1, 31})) << i;
    EXPECT_EQ(many.at("loss." + std::to_string(i)), std::vector<int64_t>{}) << i;
  }
  const std::string last = ids.substr(ids.rfind('['));
  write_text(path("one.json"), "[" + last + "]]");
  inspect("logits", "llama", "one.json", "one.safetensors");
  const SafetensorsFile all = opened("many.safetensors"), one = opened("one.safetensors");
  for (const char* name : {"logits.", "loss."}) {
    const Tensor expected = one.read(*one.find(std::string(name) + "0"));
    EXPECT_TRUE(all.read(*all.find(std::string(name) + "10")).equal(expected)) << name;
  }
}

TEST_F(Inspect, GradsWritesEveryTensorUnderItsHuggingFaceName) {
  for (const std::string family : kHfFamilies) {
    SCOPED_TRACE(family);
    copy(family);
    inspect("grads", family, "ids.json", "grads.safetensors");
    auto expected = shapes(family + "/model.safetensors");
    ASSERT_GT(expected.size(), 10u);
    expected["loss"] = {};
    expected["aux"] = {};
    EXPECT_EQ(shapes("grads.safetensors"), expected);
    const SafetensorsFile file = opened("grads.safetensors");
    double largest = 0;
    for (const SafetensorsEntry& entry : file.entries()) {
      const double magnitude = max_magnitude(file.read(entry));
      EXPECT_TRUE(std::isfinite(magnitude)) << entry.name;
      if (entry.name != "loss" && entry.name != "aux") largest = std::max(largest, magnitude);
    }
    EXPECT_GT(largest, 1e-4);
  }
}

TEST_F(Inspect, IdsAreRefusedWithTheListAndTheElement) {
  copy("llama");
  const std::string whole =
      "bad.json: must be a list of lists of token ids, such as [[1, 2, 3], [7]]";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[[1, 2", "bad.json: is not JSON (byte 7)"},
      {"{}", whole},
      {"[]", whole},
      {"[[]]", "bad.json: list 0: must be a list of at least one token id"},
      {"[[1], 2]", "bad.json: list 1: must be a list of at least one token id"},
      {"[[1, 31]]", "bad.json: list 0: element 1 is 31, must be a token id from 0 to 30"},
      {"[[1], [2, -3]]", "bad.json: list 1: element 1 is -3, must be a token id from 0 to 30"},
      {"[[1, \"a\"]]", "bad.json: list 0: element 1 is \"a\", must be a token id from 0 to 30"}};
  for (const auto& [text, message] : cases) {
    write_text(path("bad.json"), text);
    for (const char* command : {"logits", "grads"}) {
      expect_refused({command, "llama", "--ids", "bad.json", "--out", "new"}, message);
    }
  }
  expect_refused({"logits", "nowhere", "--ids", "absent.json", "--out", "new"},
                 "absent.json: No such file or directory");
  const Outcome empty = weft({"logits", "nowhere", "--ids", "", "--out", "new"});
  EXPECT_EQ(empty.exit_status, 2);
  EXPECT_THAT(empty.output, HasSubstr("--ids: is empty"));
}

TEST_F(Inspect, MoreTokensThanLearnedPositionsAreRefused) {
  copy("gpt2");
  std::string ids = "[[1], [0";
  for (int i = 1; i < 17; ++i) ids += ", 0";
  write_text(path("long.json"), ids + "]]");
  for (const char* command : {"logits", "grads"}) {
    expect_refused({command, "gpt2", "--ids", "long.json", "--out", "new"},
                   "long.json: list 1: has 17 tokens, the model has positions for 16");
  }
}

TEST_F(Inspect, AModelThatIsNotThereOrDamagedIsRefused) {
  copy("llama");
  const fs::path file = path("llama") / "model.safetensors";
  for (const char* command : {"logits", "grads"}) {
    expect_refused({command, "absent", "--ids", "ids.json", "--out", "new"},
                   "absent: does not exist");
  }
  for (const auto& [damaged, message] : damages(contents(file))) {
    write_text(file, damaged);
    for (const char* command : {"logits", "grads"}) {
      expect_refused({command, "llama", "--ids", "ids.json", "--out", "new"},
                     "llama/model.safetensors: " + message);
    }
  }
}

// Before the model is read: nobody waits for a file that cannot be written.
TEST_F(Inspect, AnOutputThatCannotBeIsRefusedFirst) {
  fs::create_directory(path("folder"));
  for (const char* command : {"logits", "grads"}) {
    expect_refused({command, "absent", "--ids", "absent.json", "--out", "folder"},
                   "--out: 'folder' is a folder; give the name of a file");
    expect_refused({command, "absent", "--ids", "absent.json", "--out", "none/new"},
                   "--out: 'none/new': there is no folder 'none'");
    expect_refused({command, "absent", "--ids", "absent.json", "--out", ""},
                   "--out: is empty; give the name of a file");
    // A folder in which nobody, root included, can create a file.
    expect_refused({command, "absent", "--ids", "absent.json", "--out", "/proc/new"},
                   "--out: /proc/new.tmp: cannot be created: No such file or directory");
  }
}

// Neither looks at what ends a text.
TEST_F(Inspect, AWrongEndOfTheModelStopsNothing) {
  copy("llama");
  write_text(path("llama") / "generation_config.json", "{");
  inspect("logits", "llama", "ids.json", "logits.safetensors");
  inspect("grads", "llama", "ids.json", "grads.safetensors");
}

TEST_F(Inspect, AnOutputThatIsThereIsReplacedWholeOrNotAtAll) {
  copy("llama");
  write_text(path("out.safetensors"), "old");
  for (const char* command : {"logits", "grads"}) {
    expect_full({command, "llama", "--ids", "ids.json", "--out", "out.safetensors"}, 1 << 10,
                "out.safetensors");
    EXPECT_EQ(contents(path("out.safetensors")), "old");
  }
  inspect("logits", "llama", "ids.json", "out.safetensors");
  EXPECT_EQ(shapes("out.safetensors").size(), 6u);
  EXPECT_EQ(listed(), (Names{"ids.json", "llama", "out.safetensors"}));
}

TEST_F(Inspect, OptionsAreRefusedWithWhatIsAllowed) {
  copy("llama");
  const std::vector<std::string> command = {"logits", "llama", "--ids", "ids.json", "--out", "new"};
  const auto with = [&](const char* option, const char* word) {
    std::vector<std::string> all = command;
    all.insert(all.end(), {option, word});
    const Outcome outcome = weft(all);
    EXPECT_EQ(outcome.exit_status, 2) << option;
    EXPECT_FALSE(fs::exists(path("new"))) << option;
    return outcome.output;
  };
  EXPECT_THAT(with("--compute", "fp8"), HasSubstr("--compute: fp8 not in {auto,bf16,fp32,fp64}"));
  EXPECT_THAT(with("--device", "tpu"), HasSubstr("--device: tpu not in {auto,cpu,cuda}"));
  const Outcome missing = weft({"logits", "llama", "--ids", "ids.json"});
  EXPECT_EQ(missing.exit_status, 2);
  EXPECT_THAT(missing.output, HasSubstr("--out is required"));
}

}  // namespace
}  // namespace weft
