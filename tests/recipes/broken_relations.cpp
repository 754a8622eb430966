// Values that are fine alone and wrong together, or on this machine.
#include "tests/recipes/broken_recipes.h"

namespace weft {

using Form = BrokenRecipe::Form;

std::vector<BrokenRecipe> broken_relations() {
  return {
      {.name = "BatchNotWholeSequences",
       .from = "batch_tokens: 256",
       .to = "batch_tokens: 250",
       .expected = "r.yaml:12:19: stages.0.batch_tokens: is 250, must be a multiple of "
                   "sequence_length (64)"},
      {.name = "BatchBelowOneSequence",
       .from = "batch_tokens: 256",
       .to = "batch_tokens: 32",
       .expected = "r.yaml:12:19: stages.0.batch_tokens: is 32, must be a multiple of "
                   "sequence_length (64)"},
      {.name = "HeadsDoNotDivideTheWidth",
       .from = "hidden_size: 64",
       .to = R"(hidden_size: 64
  num_heads: 5)",
       .expected = "r.yaml:6:14: model.num_heads: is 5, must divide hidden_size (64) unless "
                   "head_dim is given"},
      {.name = "MicroBatchNotWholeSequences",
       .from = "batch_tokens: 256",
       .to = R"(batch_tokens: 256
    micro_batch_tokens: 100)",
       .expected = "r.yaml:13:25: stages.0.micro_batch_tokens: is 100, must be a multiple of "
                   "sequence_length (64)"},
      {.name = "MicroBatchOverBatch",
       .from = "batch_tokens: 256",
       .to = R"(batch_tokens: 256
    micro_batch_tokens: 512)",
       .expected =
           "r.yaml:13:25: stages.0.micro_batch_tokens: is 512, must be at most batch_tokens (256)"},
      {.name = "WarmupLongerThanTheStage",
       .from = "warmup_steps: 2",
       .to = "warmup_steps: 20",
       .expected =
           "r.yaml:16:55: stages.0.schedule.warmup_steps: is 20, but the stage has 10 steps"},
      {.name = "WarmupAndDecayTooLong",
       .from = "warmup_steps: 2",
       .to = "warmup_steps: 7",
       .expected =
           "r.yaml:16:71: stages.0.schedule.decay_steps: is 4, but steps - warmup_steps leaves 3"},
      {.name = "VocabularyBelowTheTokenizers",
       .from = "hidden_size: 64",
       .to = R"(hidden_size: 64
  vocab_size: 256)",
       .expected = "r.yaml:6:15: model.vocab_size: is 256, must be at least 257, the vocabulary of "
                   "stages.0.data.tokenizer"},
      {.name = "KeyValueHeadsDoNotDivide",
       .from = "hidden_size: 64",
       .to = R"(hidden_size: 64
  num_heads: 4
  num_kv_heads: 3)",
       .expected = "r.yaml:7:17: model.num_kv_heads: is 3, must divide num_heads (4)"},
      {.name = "OddHeadWidthWithRope",
       .from = "hidden_size: 64",
       .to = R"(hidden_size: 64
  head_dim: 5
  rope: {type: default})",
       .expected = "r.yaml:6:13: model.head_dim: is 5, must be even for rotary positions"},
      {.name = "TopKOverExperts",
       .from = "top_k: 2",
       .to = "top_k: 5",
       .expected = "r.yaml:7:32: model.moe.top_k: is 5, must be at most num_experts (4)"},
      {.name = "AttentionOffsetOverPeriod",
       .from = "hidden_size: 64",
       .to = R"(hidden_size: 64
  layout: {attention_period: 2, attention_offset: 2})",
       .expected =
           "r.yaml:6:51: model.layout.attention_offset: is 2, must be below attention_period (2)"},
      {.name = "StepSizesOutOfOrder",
       .from = "hidden_size: 64",
       .to = R"(hidden_size: 64
  mamba: {dt_min: 0.5})",
       .expected = "r.yaml:6:19: model.mamba.dt_min: is 0.5, must be at most dt_max (0.1)"},
      {.name = "LayerListTooLong",
       .from = R"(  family: jamba
  hidden_size: 64
  num_layers: 4)",
       .to = R"(  hidden_size: 64
  layers: [{repeat: 9999, mixer: {kind: mamba}, feed_forward: {kind: mlp}}, {repeat: 2, mixer: {kind: mamba}, feed_forward: {kind: none}}])",
       .expected = "r.yaml:5:11: model.layers: has 10001 layers, must have at most 10000"},
      {.name = "NameIsAPath",
       .from = "name: broken",
       .to = "name: runs/broken",
       .expected = "r.yaml:1:7: name: has a '/', must be a plain folder name"},
      {.name = "NameIsDotDot",
       .from = "name: broken",
       .to = "name: ..",
       .expected = "r.yaml:1:7: name: must be a plain folder name, not '..'"},
      {.name = "NameHasAControlCharacter",
       .from = "name: broken",
       .to = "name: \"a\\nb\"",
       .expected = "r.yaml:1:7: name: has a control character, must be a plain folder name"},
      {.name = "NameTooLong",
       .from = "name: broken",
       .to = "name: " + std::string(201, 'n'),
       .expected = "r.yaml:1:7: name: has 201 bytes, must have at most 200"},
      {.name = "StageNamesTwice",
       .from = "optim: {",
       .to =
           R"(  - {name: main, steps: 1, sequence_length: 64, batch_tokens: 64, data: {sources: [{path: train.txt}]}}
optim: {)",
       .expected = "r.yaml:17:12: stages.1.name: is 'main', as is that of stages.0; each stage "
                   "needs its own"},
      {.name = "StagesOfTwoTokenizers",
       .from = "optim: {",
       .to =
           R"(  - {name: later, steps: 1, sequence_length: 64, batch_tokens: 64, data: {tokenizer: {kind: ids, end_id: 2}, sources: [{path: train.txt}]}}
optim: {)",
       .expected =
           "r.yaml:4:3: model.vocab_size: is auto, must be an integer: stages.1.data.tokenizer is "
           "of kind ids and has no vocabulary of its own\n"
           "r.yaml:17:86: stages.1.data.tokenizer: is ids with end_id 2, must be bytes, as is that "
           "of stages.0\n"
           "r.yaml:17:127: stages.1.data.sources.0.path: 'train.txt' is text, but tokenizer.kind "
           "ids needs the prefix of a .bin/.idx pair"},
      {.name = "TotalStepsTooMany",
       .from = "steps: 10",
       .to = "steps: 3000000000",
       .expected =
           "r.yaml:10:12: stages.0.steps: is 3000000000, must keep the sum over stages below 2^31"},
      {.name = "ValidationNameOdd",
       .from = "name: play",
       .to = "name: the play",
       .expected = "r.yaml:15:27: stages.0.data.validation.0.name: is 'the play', must be letters, "
                   "digits, '_' and '-' (it names metrics)"},
      {.name = "ValidationNamesTwice",
       .from = "[{name: play, path: valid.txt}]",
       .to = "[{name: play, path: valid.txt}, {name: play, path: other}]",
       .expected =
           "r.yaml:15:58: stages.0.data.validation.1.name: 'play' is validation.0.name again; "
           "names must differ\n"
           "r.yaml:15:70: stages.0.data.validation.1.path: 'other' does not exist; expected a "
           "folder of .txt files, a .txt file, or the prefix of a .bin/.idx pair"},
      {.name = "SourceTwice",
       .from = "[{path: train.txt}]",
       .to = "[{path: train.txt}, {path: ./train.txt}]",
       .expected = "r.yaml:14:43: stages.0.data.sources.1.path: './train.txt' is sources.0.path "
                   "again; name it once, with the sum of the weights"},
      {.name = "MissingTrainingData",
       .from = "{path: train.txt}",
       .to = "{path: absent/train}",
       .expected =
           "r.yaml:14:24: stages.0.data.sources.0.path: 'absent/train' does not exist; expected a "
           "folder of .txt files, a .txt file, or the prefix of a .bin/.idx pair"},
      {.name = "MissingTextFile",
       .from = "path: valid.txt",
       .to = "path: absent.txt",
       .expected = "r.yaml:15:39: stages.0.data.validation.0.path: 'absent.txt' does not exist"},
      {.name = "FolderWithoutText",
       .from = "{path: train.txt}",
       .to = "{path: .hidden}",
       .expected = "r.yaml:14:24: stages.0.data.sources.0.path: '.hidden' is a folder without any "
                   ".txt file",
       .files = {{".hidden/readme.md", "x"}}},
      {.name = "IndexIsMissing",
       .from = "{path: train.txt}",
       .to = "{path: half}",
       .expected = "r.yaml:14:24: stages.0.data.sources.0.path: 'half': there is a .bin file of "
                   "this name, but no .idx",
       .files = {{"half.bin", "x"}}},
      {.name = "PrefixWrittenWithItsEnding",
       .from = "{path: train.txt}",
       .to = "{path: half.bin}",
       .expected = "r.yaml:14:24: stages.0.data.sources.0.path: 'half.bin': write the prefix of "
                   "the pair, without .bin",
       .files = {{"half.bin", "x"}}},
      {.name = "ModelTooLargeForTheMachine",
       .from = "hidden_size: 64",
       .to = "hidden_size: 1000000",
       .expected = "r.yaml:4:3: model: training needs ...",
       .sets = {"device=cpu", "precision.compute=fp32"}},
      {.name = "ModelOfImpossibleSize",
       .from = R"(hidden_size: 64
  num_layers: 4)",
       .to = R"(hidden_size: 16777216
  num_layers: 10000)",
       .expected = "r.yaml:4:3: model: has 7.31e+19 parameters, must have at most 1e+15"},
      {.name = "ExpertsOfImpossibleSize",
       .from = R"(hidden_size: 64
  num_layers: 4
  moe: {num_experts: 4,)",
       .to = R"(hidden_size: 16777216
  num_layers: 4
  intermediate_size: 16777216
  moe: {num_experts: 65536,)",
       .expected = "r.yaml:4:3: model: has 1.11e+20 parameters, must have at most 1e+15"},
      {.name = "OffloadWithoutRecompute",
       .from = "seed: 1",
       .to = R"(seed: 1
memory: {offload: true})",
       .expected = "r.yaml:3:19: memory.offload: is true, which takes what recompute: block keeps "
                   "of layers out of a GPU's memory; recompute must be block"},
      {.name = "OffloadOnTheCpu",
       .from = "seed: 1",
       .to = R"(seed: 1
device: cpu
memory: {recompute: block, offload: true})",
       .expected =
           "r.yaml:4:37: memory.offload: is true, but this runs on the CPU, which keeps all "
           "in the host's memory as it is"},
      {.name = "NoGpu",
       .from = "seed: 1",
       .to = R"(seed: 1
device: cuda)",
       .expected = "r.yaml:3:9: device: is cuda, but there is no GPU that this program can use; "
                   "cpu or auto would run"},
      {.name = "EverythingAtOnce",
       .from = "",
       .to = R"(nam: broken
seed: -1
model:
  family: jamba
  hidden_size: 64
  num_layers: 4
  num_heads: 4
  num_kv_heads: 3
stages:
  - steps: ten
    sequence_length: 64
    batch_tokens: 100
    data:
      sources: [{path: absent}]
    schedule: {kind: wsd, warmup_steps: 20}
optim: {kind: adamw, betas: [0.9]}
)",
       .expected = "r.yaml:1:1: name: is missing, needs text, not empty\n"
                   "r.yaml:1:1: unknown key 'nam'; did you mean 'name'?\n"
                   "r.yaml:2:7: seed: is -1, must be from 0 to 9e+15\n"
                   "r.yaml:8:17: model.num_kv_heads: is 3, must divide num_heads (4)\n"
                   "r.yaml:10:12: stages.0.steps: is 'ten', must be an integer\n"
                   "r.yaml:12:19: stages.0.batch_tokens: is 100, must be a multiple of "
                   "sequence_length (64)\n"
                   "r.yaml:14:24: stages.0.data.sources.0.path: 'absent' does not exist; expected "
                   "a folder of .txt files, a .txt file, or the prefix of a .bin/.idx pair\n"
                   "r.yaml:16:29: optim.betas: has 1 values, must have two: [beta1, beta2]",
       .form = Form::kWhole},
  };
}

}  // namespace weft
