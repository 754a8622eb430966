#pragma once
// Recipes that are wrong in one way each, and what weft must say about them: word for word, with
// the line and column. tests/recipes asks the library, tests/cli the program.
#include <filesystem>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace weft {

namespace fs = std::filesystem;

struct BrokenRecipe {
  enum class Form {
    kEdited,  // kGoodRecipe with the first `from` replaced by `to`
    kWhole,   // `to` is the text
    kSparse,  // 100 MB of zeros that take no space
    kAbsent,
    kFolder
  };
  std::string name;
  std::string from, to;
  std::string expected;  // one that ends in "..." is the beginning of the message
  std::vector<std::string> sets = {};
  std::vector<std::pair<std::string, std::string>> files = {};  // more files: path, text
  Form form = Form::kEdited;
};

// What the edits start from; by itself nothing is wrong with it.
inline constexpr char kGoodRecipe[] = R"(name: broken
seed: 1
model:
  family: jamba
  hidden_size: 64
  num_layers: 4
  moe: {num_experts: 4, top_k: 2}
stages:
  - name: main
    steps: 10
    sequence_length: 64
    batch_tokens: 256
    data:
      sources: [{path: train.txt}]
      validation: [{name: play, path: valid.txt}]
    schedule: {kind: wsd, peak: 1.0e-3, warmup_steps: 2, decay_steps: 4}
optim: {kind: adamw, betas: [0.9, 0.95]}
)";

// How a failing test names it.
inline void PrintTo(const BrokenRecipe& broken, std::ostream* out) { *out << broken.name; }

std::vector<BrokenRecipe> broken_types();
std::vector<BrokenRecipe> broken_keys();
std::vector<BrokenRecipe> broken_ranges();
std::vector<BrokenRecipe> broken_relations();
std::vector<BrokenRecipe> broken_models();
std::vector<BrokenRecipe> broken_starts();
std::vector<BrokenRecipe> broken_yaml();
std::vector<BrokenRecipe> broken_files();
std::vector<BrokenRecipe> broken_sets();

// All of the above.
std::vector<BrokenRecipe> all_broken_recipes();

// Writes the recipe as r.yaml, its other files, and the texts that kGoodRecipe names, into
// `folder`.
void write_broken_recipe(const BrokenRecipe& broken, const fs::path& folder);

// Whether `message` is what the recipe must be answered with.
bool is_expected(const BrokenRecipe& broken, const std::string& message);

}  // namespace weft
