#include "models/huggingface/folder.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "absl/strings/str_cat.h"
#include <ATen/core/grad_mode.h>
#include <c10/core/ScalarType.h>

#include "models/causal_lm.h"
#include "models/families.h"

namespace weft {
namespace {

constexpr char kConfig[] = "config.json";
constexpr char kSingle[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr int64_t kMaxConfigBytes = 1 << 20;
constexpr int64_t kMaxIndexBytes = 100'000'000;
constexpr JsonLimits kIndexLimits = {.depth = 3, .values = 1 << 22};
constexpr size_t kMostProblems = 20;

bool is_weight_type(at::ScalarType type) {
  return type == at::kFloat || type == at::kBFloat16 || type == at::kHalf || type == at::kDouble;
}

// The tensor on disk as logical rows.
Tensor as_rows(const Tensor& stored, HfLayout layout) {
  if (layout == HfLayout::kTransposed) return stored.t();
  return layout == HfLayout::kConv ? stored.squeeze(1) : stored;
}

// The file of each tensor as the index has them.
absl::StatusOr<std::map<std::string, std::string>> read_index(const fs::path& path) {
  WEFT_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxIndexBytes));
  const absl::StatusOr<Json> index = parse_json(text, kIndexLimits);
  if (!index.ok()) return in_context(index.status(), path.string());
  const Json* map = find_object(*index, "weight_map");
  if (map == nullptr) return bad_input(path.string(), ": weight_map: is missing");
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : map->items()) {
    const std::string word = file.is_string() ? file.get<std::string>() : "";
    if (word.empty() || word == "." || word == ".." || fs::path(word).filename() != word) {
      return bad_input(path.string(), ": weight_map.", name, ": must be the name of a file here");
    }
    files[name] = word;
  }
  return files;
}

// A few numbers in config.json can ask for billions of tensors, one an expert.
absl::Status check_tensor_count(const ParameterTable& table, const fs::path& config) {
  constexpr int64_t kMostTensors = 10'000'000;
  int64_t count = 0;
  for (const ParameterSpec& row : table.rows()) {
    count += row.sharding.axis == MeshAxis::kExpert ? row.shape[0] : 1;
  }
  if (count <= kMostTensors) return absl::OkStatus();
  return bad_input(config.string(), ": asks for ", count, " tensors, at most ", kMostTensors,
                   " are read");
}

}  // namespace

bool is_hf_folder(const fs::path& path) {
  std::error_code error;
  return fs::exists(path / kConfig, error) && !fs::exists(path / "manifest.json", error);
}

std::vector<std::string> hf_companion_files() {
  return {"generation_config.json",
          "tokenizer.json",
          "tokenizer_config.json",
          "tokenizer.model",
          "special_tokens_map.json",
          "added_tokens.json",
          "vocab.json",
          "merges.txt",
          "chat_template.jinja"};
}

absl::StatusOr<HfFolder> HfFolder::open(const fs::path& path) {
  HfFolder folder;
  folder.path_ = path;
  WEFT_ASSIGN_OR_RETURN(const std::string text, read_file(path / kConfig, kMaxConfigBytes));
  WEFT_ASSIGN_OR_RETURN(folder.config_, read_hf_config(text, (path / kConfig).string()));
  const ModelRecipe& model = folder.config_.model;
  folder.table_ = std::make_unique<ParameterTable>(parameter_table(build_config(model)));
  WEFT_RETURN_IF_ERROR(check_tensor_count(*folder.table_, path / kConfig));
  folder.tensors_ = hf_tensors(model.family, *folder.table_);
  WEFT_RETURN_IF_ERROR(folder.open_files());
  WEFT_RETURN_IF_ERROR(folder.place_tensors());
  return folder;
}

absl::Status HfFolder::open_files() {
  std::error_code error;
  std::set<std::string> names;
  std::map<std::string, std::string> index;
  if (fs::exists(path_ / kSingle, error)) {  // before the index, as transformers has it
    names.insert(kSingle);
  } else if (fs::exists(path_ / kIndex, error)) {
    WEFT_ASSIGN_OR_RETURN(index, read_index(path_ / kIndex));
    for (const auto& [tensor, file] : index) names.insert(file);
  } else {
    const bool pickled = fs::exists(path_ / "pytorch_model.bin", error) ||
                         fs::exists(path_ / "pytorch_model.bin.index.json", error);
    return bad_input(path_.string(), ": has neither ", kSingle, " nor ", kIndex,
                     pickled ? "; weft does not read pytorch_model.bin" : "");
  }
  for (const std::string& name : names) {
    WEFT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(path_ / name));
    files_.emplace(name, std::move(file));
  }
  for (const auto& [tensor, file] : index) {
    if (files_.at(file).find(tensor) == nullptr) {
      return bad_input((path_ / kIndex).string(), ": weight_map.", tensor, ": is not in ", file);
    }
  }
  return absl::OkStatus();
}

absl::Status HfFolder::place_tensors() {
  std::map<std::string, Stored> found;
  std::vector<std::string> problems;
  for (const auto& [name, file] : files_) {
    for (const SafetensorsEntry& entry : file.entries()) {
      if (!found.emplace(entry.name, Stored{&file, &entry}).second) {
        problems.push_back(absl::StrCat("tensor '", entry.name, "' is in two files"));
      }
    }
  }
  const Family family = config_.model.family;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const HfTensor& tensor = tensors_[i];
    std::vector<std::string> names = hf_aliases(family, tensor.name);
    names.insert(names.begin(), tensor.name);
    const auto name = std::find_if(names.begin(), names.end(),
                                   [&](const std::string& n) { return found.contains(n); });
    if (name == names.end()) {
      problems.push_back(
          absl::StrCat("tensor '", tensor.name, "' ", shape_text(tensor.shape), " is missing"));
      stored_.push_back({nullptr, nullptr});
      continue;
    }
    const Stored stored = found.at(*name);
    found.erase(*name);
    stored_.push_back(stored);
    if (stored.entry->shape != tensor.shape) {
      problems.push_back(absl::StrCat("tensor '", *name, "' is ", shape_text(stored.entry->shape),
                                      ", config.json makes it ", shape_text(tensor.shape)));
    } else if (!is_weight_type(stored.entry->dtype)) {
      problems.push_back(absl::StrCat("tensor '", *name, "' is ",
                                      safetensors_dtype(stored.entry->dtype),
                                      ", must be F32, BF16, F16 or F64"));
    }
    int64_t row = 0;
    for (const HfPart& part : tensor.parts) {
      places_[part.name].push_back({i, row, part});
      row += part.rows;
    }
  }
  const bool tied = *config_.model.tie_embeddings;
  for (const auto& [name, stored] : found) {
    if (tied && is_hf_head(name)) {
      if (problems.empty() && !is_embedding(stored)) {
        problems.push_back(
            absl::StrCat("tensor '", name,
                         "' is not the embedding, which config.json says that it is: "
                         "take the tensor out, or set tie_word_embeddings to false"));
      }
    } else if (!is_skipped_hf_tensor(family, name)) {
      problems.push_back(absl::StrCat("tensor '", name, "' is unexpected"));
    }
  }
  if (problems.empty()) return absl::OkStatus();
  std::string text;
  for (size_t i = 0; i < std::min(problems.size(), kMostProblems); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : "\n", path_.string(), ": ", problems[i]);
  }
  if (problems.size() > kMostProblems) {
    absl::StrAppend(&text, "\nand ", problems.size() - kMostProblems, " more");
  }
  return bad_input(text);
}

bool HfFolder::is_embedding(const Stored& head) const {
  const Stored& embedding = stored_[places_.at("embedding.weight")[0].tensor];
  if (head.entry->dtype != embedding.entry->dtype || head.entry->shape != embedding.entry->shape) {
    return false;
  }
  const bool same =
      std::ranges::equal(head.file->bytes(*head.entry), embedding.file->bytes(*embedding.entry));
  for (const Stored& read : {head, embedding}) read.file->release(*read.entry);
  return same;
}

at::ScalarType HfFolder::dtype(const ParameterSpec& row) const {
  std::vector<at::ScalarType> types;
  for (const Place& place : places_.at(row.name)) {
    types.push_back(stored_[place.tensor].entry->dtype);
  }
  return std::accumulate(types.begin(), types.end(), types[0], c10::promoteTypes);
}

void HfFolder::read(const ParameterSpec& row, Tensor out) const {
  const at::NoGradGuard no_grad;
  for (const Place& place : places_.at(row.name)) {
    const Stored& stored = stored_[place.tensor];
    const Tensor rows = as_rows(stored.file->view(*stored.entry), tensors_[place.tensor].layout);
    const Tensor part = rows.narrow(0, place.first_row, place.part.rows);
    (place.part.expert < 0 ? out : out[place.part.expert]).copy_(part);
  }
}

Tensor HfFolder::view(const HfPart& part) const {
  for (const Place& place : places_.at(part.name)) {
    if (place.part.expert != part.expert) continue;
    const Stored& stored = stored_[place.tensor];
    return as_rows(stored.file->view(*stored.entry), tensors_[place.tensor].layout)
        .narrow(0, place.first_row, place.part.rows);
  }
  WEFT_CHECK(false, "no part ", part.expert, " of '", part.name, "'");
}

void HfFolder::release(const ParameterSpec& row) const {
  for (const Place& place : places_.at(row.name)) {
    stored_[place.tensor].file->release(*stored_[place.tensor].entry);
  }
}

}  // namespace weft
