// Keys that are unknown, out of place, doubled or missing.
#include "tests/recipes/broken_recipes.h"

namespace weft {

using Form = BrokenRecipe::Form;

std::vector<BrokenRecipe> broken_keys() {
  return {
      {.name = "UnknownKeyAtTheTop",
       .from = "seed: 1",
       .to = "sead: 1",
       .expected = "r.yaml:2:1: unknown key 'sead'; did you mean 'seed'?"},
      {.name = "UnknownKeyFarFromAll",
       .from = "seed: 1",
       .to = R"(seed: 1
foo: 1)",
       .expected =
           "r.yaml:3:1: unknown key 'foo'; known: name, seed, device, threads, init, model, "
           "stages, optim, precision, loss, memory, validation, guard, checkpoint, logging"},
      {.name = "UnknownKeyInModel",
       .from = "hidden_size: 64",
       .to = R"(hidden_size: 64
  hiden_size: 64)",
       .expected = "r.yaml:6:3: model: unknown key 'hiden_size'; did you mean 'hidden_size'?"},
      {.name = "UnknownKeyInStage",
       .from = "    steps: 10",
       .to = R"(    steps: 10
    bach_tokens: 3)",
       .expected =
           "r.yaml:11:5: stages.0: unknown key 'bach_tokens'; did you mean 'batch_tokens'?"},
      {.name = "UnknownKeyInFlowMap",
       .from = "{num_experts: 4, top_k: 2}",
       .to = "{num_experts: 4, topk: 2}",
       .expected = "r.yaml:7:25: model.moe: unknown key 'topk'; did you mean 'top_k'?"},
      {.name = "UnknownKeyInListOfMaps",
       .from = "[{path: train.txt}]",
       .to = "[{path: train.txt, wieght: 2}]",
       .expected =
           "r.yaml:14:35: stages.0.data.sources.0: unknown key 'wieght'; did you mean 'weight'?"},
      {.name = "KeyOfAnotherScheduleKind",
       .from = "kind: wsd",
       .to = "kind: cosine",
       .expected = "r.yaml:16:61: stages.0.schedule.decay_steps: has no meaning here; it goes with "
                   "kind: wsd"},
      {.name = "KeyOfAnotherFamily",
       .from = "family: jamba",
       .to = R"(family: llama
  layout: {moe_period: 2})",
       .expected = "r.yaml:5:3: model.layout: has no meaning here; it goes with family: jamba or "
                   "hybrid"},
      {.name = "LayersBesideAFamily",
       .from = "num_layers: 4",
       .to = R"(num_layers: 4
  layers: [{mixer: {kind: mamba}, feed_forward: {kind: mlp}}])",
       .expected = "r.yaml:7:3: model.layers: has no meaning here; it goes with family: layers"},
      {.name = "NumLayersBesideLayers",
       .from = "family: jamba",
       .to = "layers: [{mixer: {kind: mamba}, feed_forward: {kind: mlp}}]",
       .expected = "r.yaml:6:3: model.num_layers: has no meaning here; it goes with a family"},
      {.name = "AttentionKeyOfAMambaLayer",
       .from = R"(  family: jamba
  hidden_size: 64
  num_layers: 4)",
       .to = R"(  hidden_size: 64
  layers: [{mixer: {kind: mamba, num_heads: 2}, feed_forward: {kind: mlp}}])",
       .expected = "r.yaml:5:34: model.layers.0.mixer.num_heads: has no meaning here; it goes with "
                   "kind: attention"},
      {.name = "UnknownMixer",
       .from = R"(  family: jamba
  hidden_size: 64
  num_layers: 4)",
       .to = R"(  hidden_size: 64
  layers: [{mixer: {kind: mambo, state_size: 2}, feed_forward: {kind: mlp}}])",
       .expected = "r.yaml:5:27: model.layers.0.mixer.kind: is 'mambo', must be one of attention, "
                   "mamba, mamba2; did you mean 'mamba'?"},
      {.name = "MergeKey",
       .from = "seed: 1",
       .to = R"(seed: 1
<<: {seed: 2})",
       .expected =
           "r.yaml:3:1: unknown key '<<'; known: name, seed, device, threads, init, model, "
           "stages, optim, precision, loss, memory, validation, guard, checkpoint, logging"},
      {.name = "EmptyKey",
       .from = "seed: 1",
       .to = R"("": 1)",
       .expected =
           "r.yaml:2:1: unknown key ''; known: name, seed, device, threads, init, model, stages, "
           "optim, precision, loss, memory, validation, guard, checkpoint, logging"},
      {.name = "KeyIsAList",
       .from = "seed: 1",
       .to = R"(seed: 1
? [a, b]
: 1)",
       .expected = "r.yaml:3:3: a key must be a word"},
      {.name = "DuplicateKey",
       .from = "seed: 1",
       .to = R"(seed: 1
seed: 2)",
       .expected = "r.yaml:3:1: duplicate key 'seed', first at r.yaml:2:1"},
      {.name = "DuplicateKeyInFlowMap",
       .from = "top_k: 2}",
       .to = "top_k: 2, num_experts: 8}",
       .expected = "r.yaml:7:35: duplicate key 'num_experts', first at r.yaml:7:9"},
      {.name = "DuplicateKeyInAStage",
       .from = "    steps: 10",
       .to = R"(    steps: 10
    steps: 10)",
       .expected = "r.yaml:11:5: duplicate key 'steps', first at r.yaml:10:5"},
      {.name = "DuplicateSection",
       .from = "optim: {",
       .to = R"(model: {family: llama}
optim: {)",
       .expected = "r.yaml:17:1: duplicate key 'model', first at r.yaml:3:1"},
      {.name = "MissingName",
       .from = "name: broken\n",
       .to = "",
       .expected = "r.yaml:1:1: name: is missing, needs text, not empty"},
      {.name = "MissingModel",
       .from = R"(model:
  family: jamba
  hidden_size: 64
  num_layers: 4
  moe: {num_experts: 4, top_k: 2}
)",
       .to = "",
       .expected = "r.yaml:1:1: model: is missing, needs a map"},
      {.name = "MissingHiddenSize",
       .from = "  hidden_size: 64\n",
       .to = "",
       .expected =
           "r.yaml:4:3: model.hidden_size: is missing, needs an integer from 1 to 16777216"},
      {.name = "MissingNumLayers",
       .from = "  num_layers: 4\n",
       .to = "",
       .expected = "r.yaml:4:3: model.num_layers: is missing, needs an integer from 1 to 10000"},
      {.name = "MissingLayers",
       .from = "  family: jamba\n",
       .to = "",
       .expected = "r.yaml:4:3: model.layers: is missing, needs a list of maps, not empty\n"
                   "r.yaml:5:3: model.num_layers: has no meaning here; it goes with a family"},
      {.name = "MissingSteps",
       .from = "    steps: 10\n",
       .to = "",
       .expected = "r.yaml:9:5: stages.0.steps: is missing, needs an integer from 1 to 1e+12"},
      {.name = "MissingSequenceLength",
       .from = "    sequence_length: 64\n",
       .to = "",
       .expected = "r.yaml:9:5: stages.0.sequence_length: is missing, needs an integer from 1 to "
                   "1073741824"},
      {.name = "MissingBatchTokens",
       .from = "    batch_tokens: 256\n",
       .to = "",
       .expected =
           "r.yaml:9:5: stages.0.batch_tokens: is missing, needs an integer from 1 to 1e+12"},
      {.name = "MissingData",
       .from = R"(    data:
      sources: [{path: train.txt}]
      validation: [{name: play, path: valid.txt}]
)",
       .to = "",
       .expected = "r.yaml:9:5: stages.0.data: is missing, needs a map"},
      {.name = "MissingSources",
       .from = "      sources: [{path: train.txt}]\n",
       .to = "",
       .expected =
           "r.yaml:14:7: stages.0.data.sources: is missing, needs a list of maps, not empty"},
      {.name = "MissingSourcePath",
       .from = "{path: train.txt}",
       .to = "{weight: 2}",
       .expected = "r.yaml:14:17: stages.0.data.sources.0.path: is missing, needs text, not empty"},
      {.name = "MissingValidationName",
       .from = "{name: play, path: valid.txt}",
       .to = "{path: valid.txt}",
       .expected =
           "r.yaml:15:20: stages.0.data.validation.0.name: is missing, needs text, not empty"},
      {.name = "MissingMixerKind",
       .from = R"(  family: jamba
  hidden_size: 64
  num_layers: 4)",
       .to = R"(  hidden_size: 64
  layers: [{mixer: {}, feed_forward: {kind: mlp}}])",
       .expected =
           "r.yaml:5:20: model.layers.0.mixer.kind: is missing, needs one of attention, mamba, "
           "mamba2"},
      {.name = "NothingButAName",
       .from = "",
       .to = "name: lonely\n",
       .expected = "r.yaml:1:1: stages: is missing, needs a list of maps, not empty\n"
                   "r.yaml:1:1: model: is missing, needs a map",
       .form = Form::kWhole},
  };
}

}  // namespace weft
