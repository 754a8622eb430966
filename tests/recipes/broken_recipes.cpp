#include "tests/recipes/broken_recipes.h"

#include <iterator>

#include "base/check.h"
#include "tests/support/process.h"

namespace weft {
namespace {

std::string text_of(const BrokenRecipe& broken) {
  if (broken.form == BrokenRecipe::Form::kWhole) return broken.to;
  std::string text = kGoodRecipe;
  const size_t at = text.find(broken.from);
  WEFT_CHECK(at != std::string::npos, broken.name, ": '", broken.from,
             "' is not in the good recipe");
  return text.replace(at, broken.from.size(), broken.to);
}

}  // namespace

std::vector<BrokenRecipe> all_broken_recipes() {
  std::vector<BrokenRecipe> all;
  for (auto* part : {broken_types, broken_keys, broken_ranges, broken_relations, broken_models,
                     broken_starts, broken_yaml, broken_files, broken_sets}) {
    std::vector<BrokenRecipe> some = part();
    all.insert(all.end(), std::make_move_iterator(some.begin()),
               std::make_move_iterator(some.end()));
  }
  return all;
}

void write_broken_recipe(const BrokenRecipe& broken, const fs::path& folder) {
  write_text(folder / "train.txt", "text\n");
  write_text(folder / "valid.txt", "text\n");
  for (const auto& [path, text] : broken.files) write_text(folder / path, text);
  const fs::path recipe = folder / "r.yaml";
  switch (broken.form) {
    case BrokenRecipe::Form::kAbsent:
      return;
    case BrokenRecipe::Form::kFolder:
      fs::create_directory(recipe);
      return;
    case BrokenRecipe::Form::kSparse:
      write_text(recipe, "");
      fs::resize_file(recipe, 100'000'000);
      return;
    case BrokenRecipe::Form::kEdited:
    case BrokenRecipe::Form::kWhole:
      write_text(recipe, text_of(broken));
  }
}

bool is_expected(const BrokenRecipe& broken, const std::string& message) {
  const std::string& expected = broken.expected;
  if (!expected.ends_with("...")) return message == expected;
  return message.starts_with(expected.substr(0, expected.size() - 3));
}

}  // namespace weft
