#include "base/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "base/json.h"

namespace weft {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
// Depth: header, tensor, shape. A tensor is about ten values.
constexpr JsonLimits kHeaderLimits = {.depth = 3, .values = 1 << 22};
constexpr size_t kMaxDimensions = 64;
constexpr size_t kLengthBytes = 8;
constexpr size_t kAlignment = 8;
constexpr char kMetadata[] = "__metadata__";

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

// The shape and the bytes that a tensor of it takes.
absl::Status parse_shape(const Json& sizes, SafetensorsEntry& entry, int64_t& bytes) {
  if (sizes.size() > kMaxDimensions) {
    return bad_input("has ", sizes.size(), " dimensions, at most ", kMaxDimensions, " are read");
  }
  // Strides are products of the sizes other than 0: those must fit too.
  int64_t extent = static_cast<int64_t>(c10::elementSize(entry.dtype));
  bool empty = false;
  for (const Json& json : sizes) {
    const std::optional<int64_t> size = as_count(json);
    if (!size.has_value()) return bad_input("has a shape that is not a list of sizes");
    entry.shape.push_back(*size);
    empty |= *size == 0;
    if (__builtin_mul_overflow(extent, std::max<int64_t>(*size, 1), &extent)) {
      return bad_input("has a shape beyond 2^63 bytes");
    }
  }
  bytes = empty ? 0 : extent;
  return absl::OkStatus();
}

absl::StatusOr<SafetensorsEntry> parse_entry(const std::string& name, const Json& json) {
  const std::string* dtype = find_string(json, "dtype");
  if (dtype == nullptr) return bad_input("has no dtype");
  const DtypeName* known = find_dtype(*dtype);
  if (known == nullptr) return bad_input("has dtype ", *dtype, ", which weft does not read");
  const Json* sizes = find_array(json, "shape");
  if (sizes == nullptr) return bad_input("has no shape");
  SafetensorsEntry entry{name, known->dtype, {}, 0, 0};
  int64_t bytes = 0;
  WEFT_RETURN_IF_ERROR(parse_shape(*sizes, entry, bytes));
  const Json* offsets = find_array(json, "data_offsets");
  if (offsets == nullptr || offsets->size() != 2 || !as_count((*offsets)[0]).has_value() ||
      !as_count((*offsets)[1]).has_value()) {
    return bad_input("has no data_offsets of two numbers");
  }
  entry.begin = *as_count((*offsets)[0]);
  entry.end = *as_count((*offsets)[1]);
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    return bad_input("has data_offsets [", entry.begin, ", ", entry.end,
                     "], but dtype and shape need ", bytes, " bytes");
  }
  return entry;
}

absl::StatusOr<std::map<std::string, std::string>> parse_metadata(const Json& json) {
  if (!json.is_object()) return bad_input("__metadata__: is not an object");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, word] : json.items()) {
    if (!word.is_string()) return bad_input("__metadata__: '", key, "' is not a string");
    metadata[key] = word.get<std::string>();
  }
  return metadata;
}

// Puts the entries into the order of their data, which they must cover without holes or overlaps.
absl::Status order_and_check_cover(std::vector<SafetensorsEntry>& entries, int64_t data_bytes) {
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  int64_t covered = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != covered) {
      return bad_input("tensor '", entry.name, "': starts at byte ", entry.begin,
                       " of the data, expected ", covered);
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    return bad_input("the tensors take ", covered, " bytes, but the file holds ", data_bytes,
                     " bytes of data");
  }
  return absl::OkStatus();
}

// The text of the header, between the length and the data.
absl::StatusOr<std::string_view> header_text(std::span<const std::byte> bytes) {
  if (bytes.size() < kLengthBytes) {
    return bad_input("has ", bytes.size(), " bytes, a safetensors file has at least 8");
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > bytes.size() - kLengthBytes) {
    return bad_input("says that its header has ", length, " bytes, but the file has ", bytes.size(),
                     " (and at most ", kMaxHeaderBytes, " are allowed)");
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  if (!text.starts_with('{')) return bad_input("its header does not start with {");
  return text;
}

// The header of tensors that follow each other without gaps, padded.
std::string make_header(const std::vector<TensorSource>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::set<std::string> names;
  std::vector<std::string> members;
  if (!metadata.empty())
    members.push_back(absl::StrCat("\"", kMetadata, "\":", Json(metadata).dump()));
  int64_t offset = 0;
  for (const TensorSource& tensor : tensors) {
    const std::string& name = tensor.name;
    WEFT_CHECK(name != kMetadata && names.insert(name).second, "tensor '", name, "' twice");
    const int64_t end = offset + tensor.bytes();
    members.push_back(absl::StrCat(
        Json(name).dump(), ":{\"dtype\":\"", safetensors_dtype(tensor.dtype), "\",\"shape\":[",
        absl::StrJoin(tensor.shape, ","), "],\"data_offsets\":[", offset, ",", end, "]}"));
    offset = end;
  }
  std::string text = absl::StrCat("{", absl::StrJoin(members, ","), "}");
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  return text;
}

}  // namespace

const char* safetensors_dtype(at::ScalarType dtype) {
  for (const DtypeName& entry : kDtypes) {
    if (entry.dtype == dtype) return entry.name;
  }
  return nullptr;
}

absl::Status SafetensorsFile::parse() {
  WEFT_ASSIGN_OR_RETURN(const std::string_view text, header_text(file_.bytes()));
  auto header = parse_json(text, kHeaderLimits);
  if (!header.ok()) return in_context(header.status(), "its header");
  for (const auto& [name, value] : header->items()) {
    if (name == kMetadata) {
      WEFT_ASSIGN_OR_RETURN(metadata_, parse_metadata(value));
      continue;
    }
    auto entry = parse_entry(name, value);
    if (!entry.ok()) return in_context(entry.status(), "tensor '" + name + "'");
    entries_.push_back(*std::move(entry));
  }
  data_start_ = static_cast<int64_t>(kLengthBytes + text.size());
  const int64_t data_bytes = static_cast<int64_t>(file_.bytes().size()) - data_start_;
  WEFT_RETURN_IF_ERROR(order_and_check_cover(entries_, data_bytes));
  for (size_t i = 0; i < entries_.size(); ++i) by_name_[entries_[i].name] = i;
  return absl::OkStatus();
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::open(const fs::path& path) {
  WEFT_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::open(path));
  SafetensorsFile file(std::move(mapped));
  if (absl::Status parsed = file.parse(); !parsed.ok()) return in_context(parsed, path.string());
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

Tensor SafetensorsFile::view(const SafetensorsEntry& entry) const {
  const std::span<const std::byte> data = bytes(entry);
  const auto address = reinterpret_cast<uintptr_t>(data.data());
  if (data.empty() || address % c10::elementSize(entry.dtype) != 0) return read(entry);
  return at::from_blob(const_cast<std::byte*>(data.data()), entry.shape, entry.dtype);
}

void SafetensorsFile::release(const SafetensorsEntry& entry) const { file_.release(bytes(entry)); }

TensorSource TensorSource::of(NamedTensor named) {
  const Tensor tensor = named.tensor;
  return {std::move(named.name), tensor.scalar_type(), tensor.sizes().vec(),
          [tensor] { return absl::StatusOr<Tensor>(tensor); }};
}

int64_t TensorSource::bytes() const {
  int64_t n = static_cast<int64_t>(c10::elementSize(dtype));
  for (const int64_t size : shape) n *= size;
  return n;
}

std::vector<std::vector<TensorSource>> split_into_files(std::vector<TensorSource> tensors,
                                                        int64_t file_bytes) {
  std::vector<std::vector<TensorSource>> files;
  int64_t filled = 0;
  for (TensorSource& tensor : tensors) {
    const int64_t bytes = tensor.bytes();
    if (files.empty() || filled + bytes > file_bytes) {
      files.emplace_back();
      filled = 0;
    }
    filled += bytes;
    files.back().push_back(std::move(tensor));
  }
  return files;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<WrittenFile> write_safetensors(const fs::path& path,
                                              std::vector<TensorSource> tensors,
                                              const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorSource& a, const TensorSource& b) {
    return std::pair(dtype_rank(a.dtype), a.name) < std::pair(dtype_rank(b.dtype), b.name);
  });
  const std::string text = make_header(tensors, metadata);
  WEFT_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  const uint64_t header_bytes = text.size();
  WEFT_RETURN_IF_ERROR(file.write(std::as_bytes(std::span(&header_bytes, 1))));
  WEFT_RETURN_IF_ERROR(file.write(text));
  for (const TensorSource& source : tensors) {
    WEFT_ASSIGN_OR_RETURN(const Tensor tensor, source.read());
    WEFT_CHECK(
        tensor.scalar_type() == source.dtype && tensor.sizes() == at::IntArrayRef(source.shape),
        "tensor '", source.name, "' is not what was announced");
    const Tensor host = tensor.detach().cpu().contiguous();
    WEFT_RETURN_IF_ERROR(
        file.write({static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()}));
  }
  WrittenFile written{path.filename().string(), file.size(), file.checksum()};
  WEFT_RETURN_IF_ERROR(file.commit());
  return written;
}

absl::StatusOr<WrittenFile> write_safetensors(const fs::path& path,
                                              const std::vector<NamedTensor>& tensors,
                                              const std::map<std::string, std::string>& metadata) {
  std::vector<TensorSource> sources;
  for (const NamedTensor& tensor : tensors) sources.push_back(TensorSource::of(tensor));
  return write_safetensors(path, std::move(sources), metadata);
}

}  // namespace weft
