// Model parts of recipes that are wrong in a relation between keys, family by family.
#include "tests/recipes/broken_recipes.h"

namespace weft {
namespace {

// kGoodRecipe with another model.
BrokenRecipe model(std::string name, const std::string& to, std::string expected) {
  return {.name = std::move(name),
          .from = R"(  family: jamba
  hidden_size: 64
  num_layers: 4
  moe: {num_experts: 4, top_k: 2})",
          .to = to,
          .expected = std::move(expected)};
}

std::string family(const std::string& name, const std::string& more) {
  return "  family: " + name + "\n  hidden_size: 64\n  num_layers: 4\n  " + more;
}

}  // namespace

std::vector<BrokenRecipe> broken_models() {
  return {
      model("UnknownLetterOfAPattern", family("hybrid", "layout: {pattern: MMX}"),
            "r.yaml:7:21: model.layout.pattern: has 'X' at 3, must be letters of AWMS"),
      model("UnknownLetterOfFeedForwards", family("hybrid", "layout: {feed_forward: DM}"),
            "r.yaml:7:26: model.layout.feed_forward: has 'M' at 2, must be letters of DEN"),
      model("WindowLayersWithoutAWindow", family("hybrid", "layout: {pattern: MW}"),
            "r.yaml:7:21: model.layout.pattern: has W layers, which need "
            "model.attention.sliding_window"),
      model("WindowPeriodWithoutAWindow", family("hybrid", "layout: {window_period: 2}"),
            "r.yaml:7:27: model.layout.window_period: needs model.attention.sliding_window"),
      model("WindowPeriodBesideAPattern",
            family("hybrid",
                   "layout: {pattern: MA, window_period: 2}\n  attention: {sliding_window: 8}"),
            "r.yaml:7:40: model.layout.window_period: goes without pattern, whose W layers have "
            "the window"),
      model(
          "WindowOffsetOverPeriod",
          family("hybrid",
                 "layout: {window_period: 2, window_offset: 2}\n  attention: {sliding_window: 8}"),
          "r.yaml:7:45: model.layout.window_offset: is 2, must be below window_period (2)"),
      model("WindowPeriodOfAJamba", family("jamba", "layout: {window_period: 2}"),
            "r.yaml:7:27: model.layout.window_period: goes with family: hybrid"),
      model("WindowThatNoLayerHas", family("hybrid", "attention: {sliding_window: 8}"),
            "r.yaml:7:31: model.attention.sliding_window: is 8, but no layer has it: that takes W "
            "in layout.pattern, or layout.window_period"),
      model("WindowPeriodThatAttentionTakes",
            family("hybrid",
                   "attention: {sliding_window: 8}\n"
                   "  layout: {attention_period: 2, window_period: 2}"),
            "r.yaml:7:31: model.attention.sliding_window: is 8, but no layer has it: of the layers "
            "that layout.window_period (2) and window_offset (1) name, attention_period leaves "
            "none below num_layers (4)"),
      model("WindowPeriodBeyondTheLayers",
            family("hybrid", "attention: {sliding_window: 8}\n  layout: {window_period: 100}"),
            "r.yaml:7:31: model.attention.sliding_window: is 8, but no layer has it: of the layers "
            "that layout.window_period (100) and window_offset (99) name, attention_period leaves "
            "none below num_layers (4)"),
      model("WindowLettersBeyondTheLayers",
            family("hybrid", "attention: {sliding_window: 8}\n  layout: {pattern: MMAAAAAW}"),
            "r.yaml:7:31: model.attention.sliding_window: is 8, but no layer has it: the first W "
            "of layout.pattern is letter 8, beyond num_layers (4)"),
      model("WindowOffsetWithoutAPeriod", family("hybrid", "layout: {window_offset: 1}"),
            "r.yaml:7:12: model.layout.window_offset: has no meaning here; it goes with "
            "window_period"),
      model("WindowOffsetOfAJamba", family("jamba", "layout: {window_offset: 1}"),
            "r.yaml:7:12: model.layout.window_offset: has no meaning here; it goes with "
            "window_period"),
      model("MixerOfAJamba", family("jamba", "layout: {mixer: mamba2}"),
            "r.yaml:7:19: model.layout.mixer: goes with family: hybrid"),
      model("PatternOfAJamba", family("jamba", "layout: {pattern: MA}"),
            "r.yaml:7:21: model.layout.pattern: goes with family: hybrid"),
      model("ExpertsOffsetOverPeriod", family("jamba", "layout: {moe_period: 2, moe_offset: 2}"),
            "r.yaml:7:39: model.layout.moe_offset: is 2, must be below moe_period (2)"),
      model("HeadsThatDoNotDivideMamba2", family("mamba2", "mamba2: {head_dim: 48}"),
            "r.yaml:7:22: model.mamba2.head_dim: is 48, must divide the inner width (128)"),
      model("GroupsThatDoNotDivideMamba2", family("mamba2", "mamba2: {num_groups: 3}"),
            "r.yaml:7:24: model.mamba2.num_groups: is 3, must divide the heads (2)"),
      model("StepLimitsOutOfOrder", family("mamba2", "mamba2: {dt_limit_low: 2, dt_limit_high: 1}"),
            "r.yaml:7:26: model.mamba2.dt_limit_low: is 2, must be at most dt_limit_high (1)"),
      model("TooFewMultipliers", family("openelm", "layerwise: {qkv: [1, 1, 1]}"),
            "r.yaml:7:20: model.layerwise.qkv: has 3 values, must have 1, 2 or num_layers (4)"),
      model("MultiplierOutOfRange", family("openelm", "layerwise: {ffn: [0]}"),
            "r.yaml:7:21: model.layerwise.ffn.0: is 0, must be from 0.001 to 1000"),
      model("PaddingTokenOutOfTheVocabulary", family("llama", "pad_token_id: 257"),
            "r.yaml:7:17: model.pad_token_id: is 257, must be below vocab_size (257)"),
      model(
          "SequenceOverLearnedPositions", family("gpt2", "max_position: 32"),
          "r.yaml:7:17: model.max_position: is 32, must be at least stages.0.sequence_length (64): "
          "positions are learned"),
      model("ScaleOfPlainRotaryPositions", family("llama", "rope: {factor: 4}"),
            "r.yaml:7:10: model.rope.factor: has no meaning here; it goes with a scaled type"),
      model("Llama3BoundsOutOfOrder",
            family("llama", "rope: {type: llama3, factor: 8, low_freq_factor: 4}"),
            "r.yaml:7:52: model.rope.low_freq_factor: is 4, must be below high_freq_factor (4)"),
      model("WindowWithDynamicPositions",
            family("llama", "rope: {type: dynamic, factor: 2}\n  attention: {sliding_window: 8}"),
            "r.yaml:8:31: model.attention.sliding_window: must be 0 with rope.type dynamic"),
  };
}

}  // namespace weft
