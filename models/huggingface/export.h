#pragma once
// Writing a Hugging Face checkpoint that transformers loads: config.json, generation_config.json,
// what came with the original, and safetensors files with an index where there are several.
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "base/tensor.h"
#include "models/huggingface/tensor_rules.h"
#include "models/model_recipe.h"

namespace weft {

// A logical tensor, or expert `part.expert` of it, as rows in the type that it is stored in.
using ReadPart = std::function<absl::StatusOr<Tensor>(const HfPart& part)>;

struct HfExport {
  ModelRecipe model;
  Json source = nullptr;  // config.json that it was imported with, or null
  // The token before and after each document, if it is to be bos and eos whatever `source` and
  // `companions` have.
  std::optional<int64_t> document_end = {};
  std::map<std::string, std::string> companions = {};       // file name -> content, as they are
  std::function<at::ScalarType(const HfPart&)> dtype = {};  // on disk
  ReadPart read = {};
  int64_t shard_bytes = 5'000'000'000;
  std::function<void(int64_t bytes, int64_t total)> progress = {};  // may be empty
};

// Bad input: `folder` exists, or its disk has no room for the tensors. It is there whole or not at
// all. Memory: one tensor on disk at a time.
absl::Status write_hf_folder(const fs::path& folder, const HfExport& contents);

// A tensor on disk out of its logical parts, which are rows [rows, ..] each.
Tensor compose_hf_tensor(const HfTensor& tensor, const std::vector<Tensor>& parts);

}  // namespace weft
