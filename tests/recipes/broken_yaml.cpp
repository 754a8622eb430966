// Text that is not the YAML that weft reads.
#include "tests/recipes/broken_recipes.h"

namespace weft {
namespace {

using Form = BrokenRecipe::Form;

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// Nine lists, each of ten times the one before: a billion values in 500 bytes.
std::string alias_bomb() {
  std::string text = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (char c = 'b'; c <= 'i'; ++c) {
    const std::string before(1, static_cast<char>(c - 1));
    text += std::string(1, c) + ": &" + c + " [" + repeated("*" + before + ", ", 9) + "*" + before +
            "]\n";
  }
  return text;
}

}  // namespace

std::vector<BrokenRecipe> broken_yaml() {
  return {
      {.name = "EmptyFile",
       .from = "",
       .to = "",
       .expected = "r.yaml:1:1: is empty",
       .form = Form::kWhole},
      {.name = "OnlyComments",
       .from = "",
       .to = "# nothing\n\n",
       .expected = "r.yaml:1:1: is empty",
       .form = Form::kWhole},
      {.name = "OnlyAWord",
       .from = "",
       .to = "recipe\n",
       .expected = "r.yaml:1:1: must be a map of keys",
       .form = Form::kWhole},
      {.name = "TopIsAList",
       .from = "",
       .to = "- name: broken\n",
       .expected = "r.yaml:1:1: must be a map of keys",
       .form = Form::kWhole},
      {.name = "TwoDocuments",
       .from = "seed: 1",
       .to = R"(seed: 1
---
seed: 2)",
       .expected = "r.yaml:3:1: a second YAML document starts here; a recipe is one"},
      {.name = "UnclosedList",
       .from = "[0.9, 0.95]",
       .to = "[0.9, 0.95",
       .expected = "r.yaml:17:39: is not valid YAML: illegal flow end"},
      {.name = "UnclosedMap",
       .from = "{kind: adamw, betas: [0.9, 0.95]}",
       .to = "{kind: adamw",
       .expected = "r.yaml:18:1: is not valid YAML: end of map flow not found"},
      {.name = "UnclosedQuote",
       .from = "name: broken",
       .to = R"(name: "broken)",
       .expected = "r.yaml:1:7: the quote that opens here is never closed"},
      {.name = "StrayBracket",
       .from = "seed: 1",
       .to = "seed: 1]",
       .expected = "r.yaml:2:7: seed: is '1]', must be an integer"},
      {.name = "MapInsideAValue",
       .from = "seed: 1",
       .to = "seed: 1: 2",
       .expected = "r.yaml:2:8: is not valid YAML: illegal map value"},
      {.name = "WrongIndentation",
       .from = "  hidden_size: 64",
       .to = "   hidden_size: 64",
       .expected = "r.yaml:5:15: is not valid YAML: illegal map value"},
      {.name = "TabIndents",
       .from = "  hidden_size: 64",
       .to = "\thidden_size: 64",
       .expected = "r.yaml:5:1: a tab cannot indent YAML; use spaces"},
      {.name = "NulByte",
       .from = "seed: 1",
       .to = std::string("seed: 1\0", 8),
       .expected = "r.yaml:2:8: control character 0x00 is not allowed in a recipe"},
      {.name = "ControlCharacter",
       .from = "seed: 1",
       .to = "seed: \007",
       .expected = "r.yaml:2:7: control character 0x07 is not allowed in a recipe"},
      {.name = "NotUtf8",
       .from = "name: broken",
       .to = "name: br\377ken",
       .expected = "r.yaml:1:9: byte 0xff is not UTF-8 text"},
      {.name = "Utf16",
       .from = "",
       .to = std::string("\xff\xfen\0a\0m\0e\0", 10),
       .expected = "r.yaml:1:1: byte 0xff is not UTF-8 text",
       .form = Form::kWhole},
      {.name = "BinaryGarbage",
       .from = "",
       .to = std::string("\x7f"
                         "ELF\x02\x01\x01\0",
                         8),
       .expected = "r.yaml:1:1: control character 0x7f is not allowed in a recipe",
       .form = Form::kWhole},
      {.name = "UnknownAlias",
       .from = "seed: 1",
       .to = "seed: *nowhere",
       .expected = "r.yaml:2:7: is not valid YAML: the referenced anchor is not defined"},
      {.name = "AliasInsideItself",
       .from = "seed: 1",
       .to = R"(seed: 1
guard: &a [*a])",
       .expected = "r.yaml:3:12: an alias stands inside the value that it repeats"},
      {.name = "Tag",
       .from = "seed: 1",
       .to = "seed: !!int 1",
       .expected =
           "r.yaml:2:7: tag 'tag:yaml.org,2002:int' is not allowed; tags have no meaning here"},
      {.name = "UnknownEscape",
       .from = "name: broken",
       .to = "name: \"\\q\"",
       .expected = "r.yaml:1:10: is not valid YAML: unknown escape character: q"},
      {.name = "AliasBomb",
       .from = "",
       .to = alias_bomb(),
       .expected = "r.yaml:4:32: has more than 10000 values, aliases counted",
       .form = Form::kWhole},
      {.name = "TooDeep",
       .from = "seed: 1",
       .to = "seed: " + std::string(70, '[') + std::string(70, ']'),
       .expected = "r.yaml:2:70: has more than 64 maps and lists inside each other"},
      {.name = "ExtremelyDeep",
       .from = "seed: 1",
       .to = "seed: " + std::string(100'000, '['),
       .expected = "r.yaml:9:3: is not valid YAML: illegal block entry"},
      {.name = "TooManyValues",
       .from = "seed: 1",
       .to = "seed: [" + repeated("1,", 12'000) + "1]",
       .expected = "r.yaml:2:19998: has more than 10000 values, aliases counted"},
      {.name = "SlightlyOverOneMiB",
       .from = "seed: 1",
       .to = "seed: 1 #" + std::string(1 << 20, 'x'),
       .expected = "r.yaml: has 1048982 bytes, at most 1048576 are read"},
  };
}

}  // namespace weft
