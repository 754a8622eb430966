#include "trainer/prompts.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "base/json.h"
#include "trainer/inspect.h"

namespace weft {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;
constexpr JsonLimits kLineLimits = {.depth = 2, .values = 1 << 22};

absl::StatusOr<Prompt> line_prompt(const LoadedModel& model, const std::string& line,
                                   const std::string& where) {
  const absl::StatusOr<Json> json = parse_json(line, kLineLimits);
  if (!json.ok()) return in_context(json.status(), where);
  const std::string* text = find_string(*json, "prompt");
  const Json* ids = find_array(*json, "ids");
  if ((text == nullptr) == (ids == nullptr)) {
    return bad_input(where, ": must have \"prompt\" (a text) or \"ids\" (token ids), and not both");
  }
  if (text != nullptr) {
    absl::StatusOr<Prompt> prompt = text_prompt(model, *text);
    return prompt.ok() ? prompt : in_context(prompt.status(), where);
  }
  WEFT_ASSIGN_OR_RETURN(
      const TokenLists lists,
      parse_token_lists(Json::array({*ids}).dump(), where, model.model->config().vocab_size));
  return Prompt{"", lists[0]};
}

}  // namespace

absl::StatusOr<Prompt> text_prompt(const LoadedModel& model, const std::string& text) {
  WEFT_ASSIGN_OR_RETURN(const Tokenizer tokenizer, model.need_tokenizer());
  Prompt prompt{text, {tokenizer.end_of_document()}};
  for (const int32_t id : tokenizer.encode(text)) prompt.tokens.push_back(id);
  return prompt;
}

bool is_id_list(const std::string& ids) {
  return ids.find_first_not_of("0123456789, ") == std::string::npos;
}

absl::StatusOr<std::vector<Prompt>> id_prompts(const LoadedModel& model, const std::string& ids) {
  const int64_t vocab_size = model.model->config().vocab_size;
  const absl::StatusOr<TokenLists> lists =
      is_id_list(ids) ? parse_token_lists(absl::StrCat("[[", ids, "]]"), "--ids", vocab_size)
                      : read_token_lists(ids, vocab_size);
  if (!lists.ok()) return lists.status();
  std::vector<Prompt> prompts;
  for (const std::vector<int64_t>& list : *lists) prompts.push_back({"", list});
  return prompts;
}

absl::StatusOr<std::vector<Prompt>> read_prompts(const LoadedModel& model, const fs::path& path) {
  WEFT_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxFileBytes));
  std::vector<Prompt> prompts;
  int64_t number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (line.find_first_not_of(" \t\r") == absl::string_view::npos) continue;
    WEFT_ASSIGN_OR_RETURN(Prompt prompt, line_prompt(model, std::string(line),
                                                     absl::StrCat(path.string(), ":", number)));
    prompts.push_back(std::move(prompt));
  }
  if (prompts.empty()) return bad_input(path.string(), ": has no prompt");
  return prompts;
}

std::string answer_line(const LoadedModel& model, const Prompt& prompt,
                        const std::vector<int64_t>& tokens, const std::string& text) {
  Json line = {{"ids", tokens}};
  if (!prompt.text.empty()) line["prompt"] = prompt.text;
  if (model.tokenizer.has_value()) line["text"] = text;
  // Bytes that are no UTF-8 (a model of bytes can make them) become U+FFFD.
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string decode(const LoadedModel& model, const std::vector<int64_t>& tokens) {
  const Tokenizer& tokenizer = *model.tokenizer;
  std::vector<int32_t> ids;
  for (const int64_t token : tokens) {
    if (token < tokenizer.vocab_size()) ids.push_back(static_cast<int32_t>(token));
  }
  return tokenizer.decode(ids);
}

}  // namespace weft
