// `init`, the model that may then be left out, and data that is token ids already.
#include <iterator>

#include "tests/recipes/broken_recipes.h"

namespace weft {
namespace {

using Form = BrokenRecipe::Form;

constexpr char kLlama[] = WEFT_SOURCE_DIR "/tests/parity/fixtures/llama";

// kGoodRecipe without its model, beginning with `init`.
std::string without_model(const std::string& init) {
  return "name: broken\ninit: " + init + R"(
stages:
  - name: main
    steps: 10
    sequence_length: 64
    batch_tokens: 256
    data:
      sources: [{path: train.txt}]
)";
}

// What `init` says.
std::vector<BrokenRecipe> broken_words() {
  return {
      {.name = "StartMisspelled",
       .from = "seed: 1",
       .to = R"(seed: 1
init: {from: hugingface})",
       .expected = "r.yaml:3:14: init.from: is 'hugingface', must be one of random, checkpoint, "
                   "huggingface; did you mean 'huggingface'?"},
      {.name = "StartMisspelledAndNoModel",
       .from = "",
       .to = without_model("{from: hugingface, path: absent}"),
       .expected = "r.yaml:2:14: init.from: is 'hugingface', must be one of random, checkpoint, "
                   "huggingface; did you mean 'huggingface'?",
       .form = Form::kWhole},
      {.name = "StartAtRandomAndNoModel",
       .from = "",
       .to = without_model("{from: random}"),
       .expected = "r.yaml:1:1: model: is missing, needs a map",
       .form = Form::kWhole},
      {.name = "StartWithoutPath",
       .from = "seed: 1",
       .to = R"(seed: 1
init: {from: checkpoint})",
       .expected = "r.yaml:3:7: init.path: is missing, needs text, not empty"},
      {.name = "StartAtRandomWithPath",
       .from = "seed: 1",
       .to = R"(seed: 1
init: {from: random, path: absent})",
       .expected = "r.yaml:3:22: init.path: has no meaning here; it goes with from: checkpoint or "
                   "huggingface"},
  };
}

// What stands at init.path.
std::vector<BrokenRecipe> broken_places() {
  return {
      {.name = "StartIsMissing",
       .from = "seed: 1",
       .to = R"(seed: 1
init: {from: huggingface, path: absent})",
       .expected = "r.yaml:3:33: init.path: 'absent' does not exist"},
      {.name = "StartIsMissingAndNoModel",
       .from = "",
       .to = without_model("{from: checkpoint, path: absent}"),
       .expected = "r.yaml:2:32: init.path: 'absent' does not exist",
       .form = Form::kWhole},
      {.name = "StartIsNoPublishedFolder",
       .from = "seed: 1",
       .to = R"(seed: 1
init: {from: huggingface, path: train.txt})",
       .expected =
           "r.yaml:3:33: init.path: 'train.txt' is no Hugging Face folder (it needs config.json); "
           "a checkpoint of weft's goes with from: checkpoint"},
      {.name = "StartIsAPublishedFolder",
       .from = "seed: 1",
       .to = R"(seed: 1
init: {from: checkpoint, path: published})",
       .expected = "r.yaml:3:32: init.path: 'published' is a Hugging Face folder, which goes with "
                   "from: huggingface",
       .files = {{"published/config.json", "{}"}}},
      {.name = "StartHoldsNoCheckpoint",
       .from = "seed: 1",
       .to = R"(seed: 1
init: {from: checkpoint, path: empty})",
       .expected = "r.yaml:3:32: init.path: empty: holds no checkpoint (a folder with "
                   "manifest.json, a run directory with checkpoints/step-*, or a Hugging Face "
                   "folder with config.json)",
       .files = {{"empty/readme.md", "x"}}},
      {.name = "StartIsAFile",
       .from = "seed: 1",
       .to = R"(seed: 1
init: {from: checkpoint, path: train.txt})",
       .expected = "r.yaml:3:32: init.path: train.txt: is a file, but a checkpoint is a folder"},
      {.name = "StartIsADamagedCheckpoint",
       .from = "seed: 1",
       .to = R"(seed: 1
init: {from: checkpoint, path: half})",
       .expected = "r.yaml:3:32: init.path: half/checkpoints: no checkpoint is whole:\n"
                   "  half/checkpoints/step-00000003...",
       .files = {{"half/checkpoints/step-00000003/recipe.yaml", "x"}}},
      {.name = "StartHasAnUnreadableConfig",
       .from = "seed: 1",
       .to = R"(seed: 1
init: {from: huggingface, path: published})",
       .expected = "r.yaml:3:33: init.path: published/config.json: ...",
       .files = {{"published/config.json", "[]"}}},
      {.name = "StartIsMissingAndTheModelIsNotWhole",
       .from = "",
       .to = without_model("{from: checkpoint, path: absent}") + "model: {rope: {theta: 5.0e5}}\n",
       .expected = "r.yaml:2:32: init.path: 'absent' does not exist",
       .form = Form::kWhole},
  };
}

// What the recipe asks of the model there, and of data that are token ids already.
std::vector<BrokenRecipe> broken_fits() {
  const std::string llama = kLlama;
  return {
      {.name = "ModelOfOtherTensors",
       .from = "seed: 1",
       .to = "seed: 1\ninit: {from: huggingface, path: " + llama + "}",
       .expected = "r.yaml:5:3: model: must have the tensors of '" + llama +
                   "': 'embedding.weight' is [257, 64] here, [31, 16] there; ..."},
      {.name = "VocabularyOfTheStart",
       .from = "",
       .to = without_model("{from: huggingface, path: " + llama + "}"),
       .expected = "r.yaml:1:1: model.vocab_size: is 31, must be at least 257, the vocabulary of "
                   "stages.0.data.tokenizer",
       .form = Form::kWhole},
      {.name = "IdsAreNotMadeOfText",
       .from = "sources: [",
       .to = R"(tokenizer: {kind: ids, end_id: 2}
      sources: [)",
       .expected =
           "r.yaml:4:3: model.vocab_size: is auto, must be an integer: stages.0.data.tokenizer is "
           "of kind ids and has no vocabulary of its own\n"
           "r.yaml:15:24: stages.0.data.sources.0.path: 'train.txt' is text, but tokenizer.kind "
           "ids needs the prefix of a .bin/.idx pair\n"
           "r.yaml:16:39: stages.0.data.validation.0.path: 'valid.txt' is text, but "
           "tokenizer.kind ids needs the prefix of a .bin/.idx pair"},
      {.name = "BytesHaveNoEndId",
       .from = "sources: [",
       .to = R"(tokenizer: {kind: bytes, end_id: 2}
      sources: [)",
       .expected = "r.yaml:14:32: stages.0.data.tokenizer.end_id: has no meaning here; it goes "
                   "with kind: ids"},
      {.name = "ModelOfAnotherFamilyIsNotWhole",
       .from = "",
       .to = without_model("{from: huggingface, path: " + llama + "}") +
             "model: {family: mixtral, vocab_size: 31}\n",
       .expected = "r.yaml:10:8: model: must be given whole: the one that it starts from is of "
                   "family llama",
       .form = Form::kWhole},
      {.name = "KeyOfAnotherFamilyThanTheFolders",
       .from = "",
       .to = without_model("{from: huggingface, path: " + llama + "}") +
             "model: {vocab_size: 31, layout: {pattern: A}}\n",
       .expected = "r.yaml:10:25: model.layout: has no meaning here; it goes with family: jamba or "
                   "hybrid",
       .form = Form::kWhole},
  };
}

}  // namespace

std::vector<BrokenRecipe> broken_starts() {
  std::vector<BrokenRecipe> all = broken_words();
  for (auto* part : {broken_places, broken_fits}) {
    std::vector<BrokenRecipe> some = part();
    all.insert(all.end(), std::make_move_iterator(some.begin()),
               std::make_move_iterator(some.end()));
  }
  return all;
}

}  // namespace weft
