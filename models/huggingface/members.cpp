#include "models/huggingface/members.h"

namespace weft {

const Json* MemberReader::take(const char* name) {
  known_.insert(name);
  const auto found = json_.find(name);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

bool MemberReader::convert(const char* name, const Json& value, int64_t& out) {
  constexpr int64_t kLargest = int64_t{1} << 31;  // products of two stay inside int64
  const std::optional<int64_t> count = as_count(value);
  if (count.has_value() && *count <= kLargest) {
    out = *count;
    return true;
  }
  problem(name, absl::StrCat("is ", value.dump(), ", must be a whole number"));
  return false;
}

bool MemberReader::convert(const char* name, const Json& value, double& out) {
  if (value.is_number()) {
    out = value.get<double>();
    return true;
  }
  problem(name, absl::StrCat("is ", value.dump(), ", must be a number"));
  return false;
}

bool MemberReader::convert(const char* name, const Json& value, bool& out) {
  if (value.is_boolean()) {
    out = value.get<bool>();
    return true;
  }
  problem(name, absl::StrCat("is ", value.dump(), ", must be true or false"));
  return false;
}

void MemberReader::fixed(const char* name, const Json& value) {
  const Json* found = take(name);
  if (found == nullptr || *found == value) return;
  problem(name, absl::StrCat("is ", found->dump(), ", weft computes ", value.dump(), " only"));
}

void MemberReader::training_only(const char* name) {
  const Json* found = take(name);
  double value = 0;
  if (found == nullptr || !convert(name, *found, value) || value == 0) return;
  warnings_.push_back(absl::StrCat(name, " is ", found->dump(),
                                   ": weft trains without it; other results do not change"));
}

void MemberReader::refuse_unknown() {
  for (const auto& [name, value] : json_.items()) {
    const bool off =
        value.is_null() || value == Json(false) || (value.is_structured() && value.empty());
    if (known_.contains(name) || off) continue;
    std::string text = value.dump();
    if (text.size() > 60) text = text.substr(0, 57) + "...";
    problem(name, absl::StrCat("is ", text,
                               ", which weft does not know; if it changes nothing, take it out"));
  }
}

}  // namespace weft
