#pragma once
// The committed checkpoint of each family (fixtures/, README.md), and decoding from one without any
// state, which what has a state is compared with.
#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "base/json.h"
#include "tests/support/process.h"
#include "trainer/inspect.h"
#include "trainer/load_model.h"

namespace weft {

using Ids = std::vector<int64_t>;

inline constexpr const char* kFamilies[] = {"gpt2",   "jamba",   "llama",  "mamba",
                                            "mamba2", "mixtral", "openelm"};

inline fs::path fixture(const std::string& family) {
  return fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures" / family;
}

inline LoadedModel load(const fs::path& folder, ComputeKind compute) {
  Log log(Log::Echo::kNo);
  absl::StatusOr<LoadedModel> model =
      load_model(folder.string(), DeviceKind::kCpu, compute, log, Gradients::kKept);
  WEFT_CHECK(model.ok(), model.status());
  return *std::move(model);
}

// Three sequences, of 1, 6 and 13 tokens.
inline TokenLists ids_of(const std::string& family) {
  const auto lists = read_token_lists(fixture(family) / "ids.json", 31);
  WEFT_CHECK(lists.ok(), lists.status());
  return *lists;
}

// A fixture, or one with other members of config.json that its tensors also fit.
struct DecodingCase {
  const char* name;
  const char* family;
  const char* changed;
};
inline void PrintTo(const DecodingCase& c, std::ostream* out) { *out << c.name; }

inline constexpr DecodingCase kDecodingCases[] = {
    {"gpt2", "gpt2", "{}"},
    {"jamba", "jamba", "{}"},
    {"llama", "llama", "{}"},
    {"mamba", "mamba", "{}"},
    {"mamba2", "mamba2", "{}"},
    {"mixtral", "mixtral", "{}"},
    {"openelm", "openelm", "{}"},
    // Slots of keys are used again after five tokens.
    {"mixtral_window", "mixtral", R"({"sliding_window": 5})"},
    {"llama_yarn", "llama",
     R"({"rope_parameters": {"rope_type": "yarn", "factor": 4.0,
         "original_max_position_embeddings": 16}})"}};

inline LoadedModel load(const DecodingCase& c, ComputeKind compute) {
  const fs::path source = fixture(c.family);
  const Json changed = Json::parse(c.changed);
  if (changed.empty()) return load(source, compute);
  const TemporaryFolder temporary(fast_folder());
  Json config = Json::parse(contents(source / "config.json"));
  config.update(changed);
  write_text(temporary.path() / "config.json", config.dump());
  fs::copy(source / "model.safetensors", temporary.path());
  return load(temporary.path(), compute);
}

// The longest text that the model has positions for.
inline size_t longest_text(const LoadedModel& model) {
  const int64_t positions = model.model->config().learned_positions;
  return positions > 0 ? static_cast<size_t>(positions) : 64;
}

inline Tensor as_row(const Ids& ids) { return at::tensor(ids, at::kLong).unsqueeze(0); }

inline Ids slice(const Ids& ids, size_t begin, size_t end) {
  return {ids.begin() + static_cast<int64_t>(begin), ids.begin() + static_cast<int64_t>(end)};
}

// [T, V], every token from all before it at once.
inline Tensor recomputed(const CausalLM& model, const Ids& ids) {
  const at::NoGradGuard no_grad;
  const auto length = static_cast<int64_t>(ids.size());
  return model.logits(as_row(ids), Documents::whole_rows(1, length, at::kCPU))[0];
}

// What generate (trainer/generate.h) promises, without any state.
inline Ids greedily_recomputed(const CausalLM& model, Ids ids, size_t count, size_t window) {
  Ids answer;
  for (size_t seen = std::min(ids.size(), window); answer.size() < count;) {
    const Tensor logits = recomputed(model, slice(ids, ids.size() - seen, ids.size()))[-1];
    answer.push_back(logits.argmax().item<int64_t>());
    ids.push_back(answer.back());
    seen = seen == window ? std::max<size_t>(1, window / 2) : seen + 1;
  }
  return answer;
}

}  // namespace weft
