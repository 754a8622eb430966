#include "base/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include <ATen/ops/empty.h>
#include <nlohmann/json.hpp>

namespace weft {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr int kMaxDepth = 4;  // header, tensor, shape, and one more to be refused by type
constexpr int64_t kAlignment = 8;

struct DtypeName {
  const char* name;
  at::ScalarType dtype;
};
// In the reference writer's order.
constexpr std::array kDtypes = {DtypeName{"I64", at::kLong},
                                DtypeName{"F64", at::kDouble},
                                DtypeName{"F32", at::kFloat},
                                DtypeName{"I32", at::kInt},
                                DtypeName{"BF16", at::kBFloat16},
                                DtypeName{"F16", at::kHalf},
                                DtypeName{"F8_E4M3", at::kFloat8_e4m3fn},
                                DtypeName{"F8_E5M2", at::kFloat8_e5m2},
                                DtypeName{"U8", at::kByte},
                                DtypeName{"BOOL", at::kBool}};

const DtypeName* find_dtype(const std::string& name) {
  for (const DtypeName& entry : kDtypes) {
    if (name == entry.name) return &entry;
  }
  return nullptr;
}

size_t dtype_rank(at::ScalarType dtype) {
  for (size_t i = 0; i < kDtypes.size(); ++i) {
    if (kDtypes[i].dtype == dtype) return i;
  }
  WEFT_CHECK(false, "safetensors cannot hold ", dtype);
}

// Parses a JSON object, refusing duplicate keys at any level and nesting beyond kMaxDepth.
absl::StatusOr<Json> parse_header(std::string_view text) {
  std::vector<std::set<std::string>> keys;
  std::string problem;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (!problem.empty()) return false;
    if (depth > kMaxDepth) problem = "is nested too deeply";
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end && !keys.empty()) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.empty() &&
        !keys.back().insert(value.get<std::string>()).second) {
      problem = absl::StrCat("has '", value.get<std::string>(), "' twice");
    }
    return problem.empty();
  };
  Json header = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (!problem.empty()) return bad_input("the header ", problem);
  if (header.is_discarded()) return bad_input("the header is not JSON");
  if (!header.is_object()) return bad_input("the header is not a JSON object");
  return header;
}

bool is_count(const Json& value) {
  return value.is_number_unsigned() &&
         value.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()};
}

absl::StatusOr<SafetensorsEntry> parse_entry(const std::string& name, const Json& json) {
  const auto wrong = [&](const std::string& what) {
    return bad_input("tensor '", name, "': ", what);
  };
  if (!json.is_object()) return wrong("is not an object");
  if (!json.contains("dtype") || !json["dtype"].is_string()) return wrong("has no dtype");
  const std::string dtype = json["dtype"].get<std::string>();
  const DtypeName* known = find_dtype(dtype);
  if (known == nullptr) return wrong("has dtype " + dtype + ", which weft does not read");
  if (!json.contains("shape") || !json["shape"].is_array()) return wrong("has no shape");
  SafetensorsEntry entry{name, known->dtype, {}, 0, 0};
  int64_t bytes = static_cast<int64_t>(c10::elementSize(known->dtype));
  for (const Json& size : json["shape"]) {
    if (!is_count(size)) return wrong("has a shape that is not a list of sizes");
    entry.shape.push_back(size.get<int64_t>());
    if (__builtin_mul_overflow(bytes, entry.shape.back(), &bytes)) {
      return wrong("has a shape beyond 2^63 bytes");
    }
  }
  if (!json.contains("data_offsets") || !json["data_offsets"].is_array() ||
      json["data_offsets"].size() != 2 || !is_count(json["data_offsets"][0]) ||
      !is_count(json["data_offsets"][1])) {
    return wrong("has no data_offsets of two numbers");
  }
  entry.begin = json["data_offsets"][0].get<int64_t>();
  entry.end = json["data_offsets"][1].get<int64_t>();
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    return wrong(absl::StrCat("has data_offsets [", entry.begin, ", ", entry.end,
                              "], but dtype and shape need ", bytes, " bytes"));
  }
  return entry;
}

// The data must be covered without holes or overlaps.
absl::Status check_cover(const std::vector<SafetensorsEntry>& entries, int64_t data_bytes) {
  std::vector<const SafetensorsEntry*> order;
  for (const SafetensorsEntry& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  int64_t covered = 0;
  for (const SafetensorsEntry* entry : order) {
    if (entry->begin != covered) {
      return bad_input("tensor '", entry->name, "': starts at byte ", entry->begin,
                       " of the data, expected ", covered);
    }
    covered = entry->end;
  }
  if (covered != data_bytes) {
    return bad_input("the tensors take ", covered, " bytes, but the file holds ", data_bytes,
                     " bytes of data");
  }
  return absl::OkStatus();
}

}  // namespace

const char* safetensors_dtype(at::ScalarType dtype) {
  for (const DtypeName& entry : kDtypes) {
    if (entry.dtype == dtype) return entry.name;
  }
  return nullptr;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::open(const fs::path& path) {
  WEFT_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::open(path));
  SafetensorsFile file(std::move(mapped));
  const std::span<const std::byte> bytes = file.file_.bytes();
  const auto wrong = [&](const auto&... what) { return bad_input(path.string(), ": ", what...); };
  if (bytes.size() < 8)
    return wrong("has ", bytes.size(), " bytes, a safetensors file has at least 8");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  if (header_bytes > uint64_t{kMaxHeaderBytes} || header_bytes > bytes.size() - 8) {
    return wrong("says that its header has ", header_bytes, " bytes, but the file has ",
                 bytes.size(), " (and at most ", kMaxHeaderBytes, " are allowed)");
  }
  file.data_start_ = static_cast<int64_t>(8 + header_bytes);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  auto header = parse_header(text);
  if (!header.ok()) return in_context(header.status(), path.string());
  for (const auto& [name, value] : header->items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) return wrong("has __metadata__ that is not an object");
      for (const auto& [key, word] : value.items()) {
        if (!word.is_string()) return wrong("has __metadata__ '", key, "' that is not a string");
        file.metadata_[key] = word.get<std::string>();
      }
      continue;
    }
    auto entry = parse_entry(name, value);
    if (!entry.ok()) return in_context(entry.status(), path.string());
    file.by_name_[name] = file.entries_.size();
    file.entries_.push_back(*std::move(entry));
  }
  const int64_t data_bytes = static_cast<int64_t>(bytes.size()) - file.data_start_;
  const absl::Status cover = check_cover(file.entries_, data_bytes);
  if (!cover.ok()) return in_context(cover, path.string());
  return file;
}

const SafetensorsEntry* SafetensorsFile::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

std::span<const std::byte> SafetensorsFile::bytes(const SafetensorsEntry& entry) const {
  return file_.bytes().subspan(static_cast<size_t>(data_start_ + entry.begin),
                               static_cast<size_t>(entry.end - entry.begin));
}

Tensor SafetensorsFile::read(const SafetensorsEntry& entry) const {
  Tensor tensor = at::empty(entry.shape, entry.dtype);
  const std::span<const std::byte> data = bytes(entry);
  if (!data.empty()) std::memcpy(tensor.data_ptr(), data.data(), data.size());
  return tensor;
}

absl::StatusOr<WrittenFile> write_safetensors(const fs::path& path,
                                              std::vector<NamedTensor> tensors,
                                              const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const NamedTensor& a, const NamedTensor& b) {
    return std::pair(dtype_rank(a.tensor.scalar_type()), a.name) <
           std::pair(dtype_rank(b.tensor.scalar_type()), b.name);
  });
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const NamedTensor& named : tensors) {
    WEFT_CHECK(!header.contains(named.name), "tensor '", named.name, "' is given twice");
    const int64_t end = offset + static_cast<int64_t>(named.tensor.nbytes());
    header[named.name] = {{"dtype", safetensors_dtype(named.tensor.scalar_type())},
                          {"shape", named.tensor.sizes().vec()},
                          {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  WEFT_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  const uint64_t header_bytes = text.size();
  WEFT_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(&header_bytes, 1))));
  WEFT_RETURN_IF_ERROR(file.write(text));
  for (const NamedTensor& named : tensors) {
    const Tensor host = named.tensor.detach().cpu().contiguous();
    WEFT_RETURN_IF_ERROR(
        file.write({static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()}));
  }
  WrittenFile written{path.filename().string(), file.size(), file.checksum()};
  WEFT_RETURN_IF_ERROR(file.commit());
  return written;
}

}  // namespace weft
