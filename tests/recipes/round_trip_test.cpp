// A recipe in which no field has its default is written, read back and compared field by field.
#include <cstdio>

#include <gtest/gtest.h>

#include "recipes/load.h"
#include "recipes/reader.h"

namespace weft {
namespace {

// Gives every field another value than its default, of the right type and inside its range.
// Integers and doubles differ from each other, so that a swap shows.
class Scrambler {
 public:
  template <class T>
  void field(const char*, T& value, const Check& check, const char*) {
    scramble(value, check);
  }
  template <class F>
  void when(bool, const char*, F&& fields) {
    fields();
  }

 private:
  template <class T>
  void scramble(T& value, const Check& check) {
    if constexpr (Described<T>) {
      T::describe(value, *this);
    } else if constexpr (IsList<T>::value) {
      value.resize(2);
      for (auto& item : value) scramble(item, check);
    } else if constexpr (IsWordOrMap<T>::value) {
      scramble(value.map.emplace(), check);
    } else if constexpr (IsOrWord<T>::value) {
      value.value.emplace();
      scramble(*value.value, check);
    } else if constexpr (NamedEnum<T>) {
      // The first word: for families and kinds the one with the most fields of its own.
      value = enum_names(T{})[0].value;
    } else if constexpr (std::is_same_v<T, bool>) {
      value = !value;
    } else if constexpr (std::is_same_v<T, std::string>) {
      value = "text: \"" + std::to_string(++count_) + "\" 'it' \\ \n\t# \xC3\xA9 null";
    } else {
      const double low = std::isfinite(check.low) ? check.low : 0;
      const double high = std::isfinite(check.high) ? check.high : low + 1e6;
      ++count_;
      if constexpr (std::is_same_v<T, int64_t>)
        value = static_cast<int64_t>(low) + count_ % 60 + 1;
      else
        value = low + (high - low) / (3.0 + count_);
    }
  }

  int count_ = 0;
};

// Every value that applies, exactly: doubles in hexadecimal.
class Collector {
 public:
  template <class T>
  void field(const char* name, const T& value, const Check&, const char*) {
    text_ += name;
    collect(value);
  }
  template <class F>
  void when(bool applies, const char*, F&& fields) {
    if (applies) fields();
  }
  const std::string& text() const { return text_; }

 private:
  template <class T>
  void collect(const T& value) {
    if constexpr (Described<T>) {
      text_ += "\n";
      T::describe(value, *this);
    } else if constexpr (IsList<T>::value) {
      for (const auto& item : value) collect(item);
    } else if constexpr (IsWordOrMap<T>::value) {
      collect(static_cast<int64_t>(value.word));
      if (value.map.has_value()) collect(*value.map);
    } else if constexpr (IsOrWord<T>::value) {
      if (value.has_value())
        collect(*value);
      else
        text_ += " (word)\n";
    } else if constexpr (std::is_same_v<T, std::string>) {
      text_.append(" ").append(value).append("\n");
    } else if constexpr (std::is_same_v<T, double>) {
      char digits[40];
      std::snprintf(digits, sizeof digits, " %a\n", value);
      text_ += digits;
    } else {
      text_.append(" ").append(std::to_string(static_cast<int64_t>(value))).append("\n");
    }
  }

  std::string text_;
};

template <class T>
std::string collected(const T& value) {
  Collector collector;
  T::describe(value, collector);
  return collector.text();
}

template <class T>
T read_back(const std::string& yaml) {
  ReadLog log;
  const YamlNode root = parse_yaml(yaml, "written", Lines::kYes, log.complaints);
  T value;
  read_map(root, "", value, log);
  for (const std::string& line : log.complaints.lines(Problems::Severity::kError)) {
    ADD_FAILURE() << line;
  }
  return value;
}

TEST(WriteRecipe, IsReadBackToTheLastBit) {
  Recipe recipe;
  Scrambler scrambler;
  Recipe::describe(recipe, scrambler);
  ASSERT_NE(collected(recipe), collected(Recipe()));
  EXPECT_EQ(collected(read_back<Recipe>(write_recipe(recipe))), collected(recipe));
  recipe.model.family = Family::kJamba;
  for (StageConfig& stage : recipe.stages) stage.schedule.kind = ScheduleKind::kWsd;
  EXPECT_EQ(collected(read_back<Recipe>(write_recipe(recipe))), collected(recipe));
}

TEST(WriteRecipe, KeepsWordsAndEmptyLists) {
  Recipe recipe;
  recipe.name = "plain";
  recipe.model.hidden_size = 64;
  recipe.model.family = Family::kLlama;
  recipe.model.num_layers = 2;
  recipe.stages.resize(1);
  recipe.stages[0].steps = recipe.stages[0].sequence_length = recipe.stages[0].batch_tokens = 1;
  recipe.stages[0].data.sources.resize(1);
  recipe.stages[0].data.sources[0].path = "null";
  recipe.memory.mini_sequences = MiniSequenceRule::kNone;
  EXPECT_EQ(collected(read_back<Recipe>(write_recipe(recipe))), collected(recipe));
}

TEST(WriteModel, HasItsLayersWrittenOut) {
  ModelRecipe model;
  model.family = Family::kJamba;
  model.vocab_size = 257;
  model.hidden_size = 64;
  model.num_layers = 3;
  resolve(model);
  const auto written = read_back<ModelRecipe>(write_model(model));
  EXPECT_EQ(written.family, Family::kLayers);
  EXPECT_EQ(written.layers.size(), 3u);
  EXPECT_EQ(collected(written), collected(explicit_recipe(model)));
}

}  // namespace
}  // namespace weft
