#include "base/json.h"

#include <limits>
#include <utility>
#include <vector>

namespace weft {
namespace {

// Builds the document while it is parsed; a callback that returns false ends the parse.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(JsonLimits limits) : limits_(limits) {}

  bool null() override { return add(nullptr) != nullptr; }
  bool boolean(bool value) override { return add(value) != nullptr; }
  bool number_integer(number_integer_t value) override { return add(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return add(value) != nullptr; }
  bool number_float(number_float_t value, const string_t&) override {
    return add(value) != nullptr;
  }
  bool string(string_t& value) override { return add(std::move(value)) != nullptr; }
  bool binary(binary_t&) override { return fail("holds binary data"); }
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [member, added] = open_.back()->get_ref<Json::object_t&>().emplace(name, nullptr);
    if (!added) return fail(internal::join_parts("has '", name, "' twice"));
    member_ = &member->second;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    return fail(internal::join_parts("is not JSON (byte ", position, ")"));
  }

  const std::string& problem() const { return problem_; }
  Json take() { return std::move(document_); }

 private:
  bool fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  // Puts a value where the next one belongs; null after a failure.
  Json* add(Json value) {
    if (++values_ > limits_.values) {
      fail(internal::join_parts("has more than ", limits_.values, " values"));
      return nullptr;
    }
    Json* place = std::exchange(member_, nullptr);
    if (open_.empty()) {
      place = &document_;
    } else if (open_.back()->is_array()) {
      place = &open_.back()->get_ref<Json::array_t&>().emplace_back();
    }
    *place = std::move(value);
    return place;
  }

  bool open(Json container) {
    if (open_.size() >= limits_.depth) {
      return fail(internal::join_parts("is nested more than ", limits_.depth, " deep"));
    }
    Json* place = add(std::move(container));
    if (place != nullptr) open_.push_back(place);
    return place != nullptr;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  JsonLimits limits_;
  size_t values_ = 0;
  Json document_;
  std::vector<Json*> open_;  // the containers around the next value, outermost first
  Json* member_ = nullptr;   // of the innermost object, after its key
  std::string problem_;
};

const Json* find(const Json& json, const std::string& name, Json::value_t type) {
  if (!json.is_object()) return nullptr;
  const auto member = json.find(name);
  return member != json.end() && member->type() == type ? &*member : nullptr;
}

}  // namespace

absl::StatusOr<Json> parse_json(std::string_view text, JsonLimits limits) {
  // The library takes a byte 0 for the end of the text.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    return bad_input("is not JSON (byte ", zero + 1, ")");
  }
  Builder builder(limits);
  if (!Json::sax_parse(text, &builder)) return bad_input(builder.problem());
  return builder.take();
}

const Json* find_object(const Json& json, const std::string& name) {
  return find(json, name, Json::value_t::object);
}

const Json* find_array(const Json& json, const std::string& name) {
  return find(json, name, Json::value_t::array);
}

const std::string* find_string(const Json& json, const std::string& name) {
  const Json* member = find(json, name, Json::value_t::string);
  return member == nullptr ? nullptr : member->get_ptr<const std::string*>();
}

std::optional<int64_t> find_count(const Json& json, const std::string& name) {
  const Json* member = find(json, name, Json::value_t::number_unsigned);
  return member == nullptr ? std::nullopt : as_count(*member);
}

std::optional<int64_t> as_count(const Json& json) {
  if (!json.is_number_unsigned()) return std::nullopt;
  const uint64_t value = json.get<uint64_t>();
  if (value > uint64_t{std::numeric_limits<int64_t>::max()}) return std::nullopt;
  return static_cast<int64_t>(value);
}

}  // namespace weft
