// Files that are not there or too large, `extends`, and --set.
#include "tests/recipes/broken_recipes.h"

namespace weft {
namespace {

using Form = BrokenRecipe::Form;

// 1.yaml extends 2.yaml, and so on.
std::vector<std::pair<std::string, std::string>> chain(int files) {
  std::vector<std::pair<std::string, std::string>> all;
  for (int i = 1; i <= files; ++i) {
    all.emplace_back(std::to_string(i) + ".yaml", "extends: " + std::to_string(i + 1) + ".yaml\n");
  }
  return all;
}

}  // namespace

std::vector<BrokenRecipe> broken_files() {
  return {
      {.name = "HugeFile",
       .from = "",
       .to = "",
       .expected = "r.yaml: has 100000000 bytes, at most 1048576 are read",
       .form = Form::kSparse},
      {.name = "RecipeIsMissing",
       .from = "",
       .to = "",
       .expected = "r.yaml: No such file or directory",
       .form = Form::kAbsent},
      {.name = "RecipeIsAFolder",
       .from = "",
       .to = "",
       .expected = "r.yaml: is not a regular file",
       .form = Form::kFolder},
      {.name = "ExtendsAMissingFile",
       .from = "seed: 1",
       .to = "extends: absent.yaml",
       .expected = "r.yaml:2:10: extends: absent.yaml: No such file or directory"},
      {.name = "ExtendsItself",
       .from = "seed: 1",
       .to = "extends: r.yaml",
       .expected = "r.yaml:2:10: extends: is a cycle: r.yaml -> r.yaml"},
      {.name = "ExtendsInACircle",
       .from = "seed: 1",
       .to = "extends: a.yaml",
       .expected = "sub/b.yaml:1:10: extends: is a cycle: r.yaml -> a.yaml -> sub/b.yaml -> r.yaml",
       .files = {{"a.yaml", "extends: sub/b.yaml\n"}, {"sub/b.yaml", "extends: ../r.yaml\n"}}},
      {.name = "ExtendsAList",
       .from = "seed: 1",
       .to = "extends: [a.yaml]",
       .expected = "r.yaml:2:10: extends: must be the path of one recipe"},
      {.name = "ExtendsNothing",
       .from = "seed: 1",
       .to = "extends:",
       .expected = "r.yaml:2:1: extends: must be the path of one recipe"},
      {.name = "ExtendsAFolder",
       .from = "seed: 1",
       .to = "extends: sub",
       .expected = "r.yaml:2:10: extends: sub: is not a regular file",
       .files = {{"sub/x", ""}}},
      {.name = "ExtendsAnEmptyFile",
       .from = "seed: 1",
       .to = "extends: a.yaml",
       .expected = "r.yaml:2:10: extends: 'a.yaml' has no keys",
       .files = {{"a.yaml", "# nothing\n"}}},
      {.name = "ExtendsABrokenFile",
       .from = "seed: 1",
       .to = "extends: a.yaml",
       .expected = "a.yaml:2:1: is not valid YAML: end of sequence flow not found",
       .files = {{"a.yaml", "optim: [\n"}}},
      {.name = "ErrorInTheExtendedFile",
       .from = "seed: 1",
       .to = "extends: a.yaml",
       .expected = "a.yaml:2:23: guard.spike_factor: is -1, must be at least 0",
       .files = {{"a.yaml", R"(seed: 1
guard: {spike_factor: -1}
)"}}},
      {.name = "ErrorOverTheExtendedFile",
       .from = "seed: 1",
       .to = R"(extends: a.yaml
guard: {spike_factor: -1})",
       .expected = "r.yaml:3:23: guard.spike_factor: is -1, must be at least 0",
       .files = {{"a.yaml", "guard: {spike_factor: 1}\n"}}},
      {.name = "TooLongAChain",
       .from = "seed: 1",
       .to = "extends: 1.yaml",
       .expected = "15.yaml:1:10: extends: is a chain of more than 16 files",
       .files = chain(19)},
  };
}

std::vector<BrokenRecipe> broken_sets() {
  return {
      {.name = "SetUnknownKey",
       .from = "",
       .to = "",
       .expected = "--set optm.eps=1: unknown key 'optm'; did you mean 'optim'?",
       .sets = {"optm.eps=1"}},
      {.name = "SetUnknownInnerKey",
       .from = "",
       .to = "",
       .expected =
           "--set model.hiden_size=1: model: unknown key 'hiden_size'; did you mean 'hidden_size'?",
       .sets = {"model.hiden_size=1"}},
      {.name = "SetOutOfRange",
       .from = "",
       .to = "",
       .expected = "--set stages.0.steps=0: stages.0.steps: is 0, must be from 1 to 1e+12",
       .sets = {"stages.0.steps=0"}},
      {.name = "SetWrongType",
       .from = "",
       .to = "",
       .expected = "--set stages.0.steps=soon: stages.0.steps: is 'soon', must be an integer",
       .sets = {"stages.0.steps=soon"}},
      {.name = "SetWithoutEquals",
       .from = "",
       .to = "",
       .expected = "--set stages.0.steps: must look like stages.0.steps=50",
       .sets = {"stages.0.steps"}},
      {.name = "SetWithoutKey",
       .from = "",
       .to = "",
       .expected = "--set =5: must look like stages.0.steps=50",
       .sets = {"=5"}},
      {.name = "SetWithAnEmptyPart",
       .from = "",
       .to = "",
       .expected = "--set stages..steps=5: must look like stages.0.steps=50",
       .sets = {"stages..steps=5"}},
      {.name = "SetIndexPastTheEnd",
       .from = "",
       .to = "",
       .expected =
           "--set stages.1.steps=5: stages: is a list of 1 entry; '1' is no index into it (0 to 0)",
       .sets = {"stages.1.steps=5"}},
      {.name = "SetNameInPlaceOfIndex",
       .from = "",
       .to = "",
       .expected = "--set stages.main.steps=5: stages: is a list of 1 entry; 'main' is no index "
                   "into it (0 to 0)",
       .sets = {"stages.main.steps=5"}},
      {.name = "SetNegativeIndex",
       .from = "",
       .to = "",
       .expected = "--set stages.-1.steps=5: stages: is a list of 1 entry; '-1' is no index into "
                   "it (0 to 0)",
       .sets = {"stages.-1.steps=5"}},
      {.name = "SetInsideAValue",
       .from = "",
       .to = "",
       .expected = "--set seed.value=5: seed: is a map, must be an integer",
       .sets = {"seed.value=5"}},
      {.name = "SetBrokenYaml",
       .from = "",
       .to = "",
       .expected = "--set optim.betas=[0.9: is not valid YAML: end of sequence flow not found",
       .sets = {"optim.betas=[0.9"}},
      {.name = "SetTwoWrongOnes",
       .from = "",
       .to = "",
       .expected = "--set optim.eps=0: optim.eps: is 0, must be above 0\n"
                   "--set seed=-1: seed: is -1, must be from 0 to 9e+15",
       .sets = {"seed=-1", "optim.eps=0"}},
      {.name = "SetRemovesARequiredKey",
       .from = "",
       .to = "",
       .expected = "r.yaml:4:3: model.hidden_size: is missing, needs an integer from 1 to 16777216",
       .sets = {"model.hidden_size="}},
      {.name = "SetExtends",
       .from = "",
       .to = "",
       .expected =
           "--set extends=other.yaml: unknown key 'extends'; known: name, seed, device, "
           "threads, init, "
           "model, stages, optim, precision, loss, memory, validation, guard, checkpoint, logging",
       .sets = {"extends=other.yaml"}},
      {.name = "SetBreaksACrossCheck",
       .from = "",
       .to = "",
       .expected = "--set stages.0.batch_tokens=100: stages.0.batch_tokens: is 100, must be a "
                   "multiple of sequence_length (64)",
       .sets = {"stages.0.batch_tokens=100"}},
  };
}

}  // namespace weft
