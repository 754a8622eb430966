#pragma once
// Prompts for generation, from the command line or from a JSONL file.
#include <cstdint>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "trainer/load_model.h"

namespace weft {

struct Prompt {
  std::string text;             // empty where it was given as ids
  std::vector<int64_t> tokens;  // what the model is given, at least one
};

// A text as the model's documents begin: end-of-document, then its tokens. Bad input without a
// tokenizer that weft reads.
absl::StatusOr<Prompt> text_prompt(const LoadedModel& model, const std::string& text);

// Whether it is token ids like "5,17,3", and not a file's name.
bool is_id_list(const std::string& ids);

// "5,17,3", or the name of a JSON file with a list of lists of ids: a prompt each.
absl::StatusOr<std::vector<Prompt>> id_prompts(const LoadedModel& model, const std::string& ids);

// One JSON object a line: {"prompt": "text"} or {"ids": [1, 2]}. Bad input names the line.
absl::StatusOr<std::vector<Prompt>> read_prompts(const LoadedModel& model, const fs::path& path);

// The line of a JSONL answer: {"prompt": ..., "ids": [...], "text": ...}, without what is not
// known.
std::string answer_line(const LoadedModel& model, const Prompt& prompt,
                        const std::vector<int64_t>& tokens, const std::string& text);

// Bytes of tokens; those beyond the tokenizer's vocabulary give nothing. REQUIRES: a tokenizer.
std::string decode(const LoadedModel& model, const std::vector<int64_t>& tokens);

}  // namespace weft
