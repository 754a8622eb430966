#include "trainer/tensorboard.h"

#include <array>
#include <bit>
#include <chrono>
#include <cstring>

#include "absl/strings/str_format.h"
#include <unistd.h>

namespace weft {
namespace tensorboard {
namespace {

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) ? 0x82F63B78u : 0u);
    table[byte] = value;
  }
  return table;
}

// Numbers are little-endian on disk, and on every machine that weft is built for.
static_assert(std::endian::native == std::endian::little);

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7F) | 0x80);
  return bytes + static_cast<char>(value);
}

enum class Wire { kVarint = 0, kEightBytes = 1, kLength = 2, kFourBytes = 5 };

std::string key(int field, Wire wire) {
  return varint(static_cast<uint64_t>(field) * 8 + static_cast<uint64_t>(wire));
}
std::string integer_field(int field, int64_t value) {
  return key(field, Wire::kVarint) + varint(static_cast<uint64_t>(value));
}
std::string double_field(int field, double value) {
  return key(field, Wire::kEightBytes) + raw(value);
}
std::string float_field(int field, float value) {
  return key(field, Wire::kFourBytes) + raw(value);
}
std::string bytes_field(int field, std::string_view bytes) {
  return key(field, Wire::kLength) + varint(bytes.size()) + std::string(bytes);
}

// Fields of the messages in spec/formats.md 6.2.
std::string event(double wall_time, int64_t step, const std::string& content) {
  return double_field(1, wall_time) + (step == 0 ? "" : integer_field(2, step)) + content;
}
std::string summary(const std::string& values) { return bytes_field(5, values); }
std::string value(const std::string& tag, const std::string& content) {
  return bytes_field(1, bytes_field(1, tag) + content);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) {
    crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFF];
  }
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8u;
}

std::string record(std::string_view event) {
  const std::string length = raw(static_cast<uint64_t>(event.size()));
  return length + raw(masked_crc32c(length)) + std::string(event) + raw(masked_crc32c(event));
}

std::string version_event(double wall_time) {
  return event(wall_time, 0, bytes_field(3, "brain.Event:2"));
}

std::string session_start_event(double wall_time, int64_t step) {
  constexpr int64_t kStart = 1;
  return event(wall_time, step, bytes_field(7, integer_field(1, kStart)));
}

std::string scalar_event(double wall_time, int64_t step, const Scalars& values) {
  std::string all;
  for (const auto& [tag, scalar] : values) {
    all += value(tag, float_field(2, static_cast<float>(scalar)));
  }
  return event(wall_time, step, summary(all));
}

std::string text_event(double wall_time, int64_t step, const std::string& tag,
                       const std::string& text) {
  constexpr int64_t kString = 7;
  const std::string shape = bytes_field(2, integer_field(1, 1));
  const std::string tensor =
      integer_field(1, kString) + bytes_field(2, shape) + bytes_field(8, text);
  const std::string metadata = bytes_field(1, bytes_field(1, "text"));
  return event(wall_time, step,
               summary(value(tag, bytes_field(8, tensor) + bytes_field(9, metadata))));
}

}  // namespace tensorboard

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

}  // namespace

absl::StatusOr<EventWriter> EventWriter::open(const fs::path& folder, int64_t step) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return bad_input(folder.string(), ": cannot be made: ", failed.message());
  const double start = now();
  for (int counter = 0;; ++counter) {
    const std::string name =
        absl::StrFormat("events.out.tfevents.%010d.%s.%d.%d", static_cast<int64_t>(start),
                        host_name(), getpid(), counter);
    absl::StatusOr<AppendFile> file = AppendFile::open(folder / name, AppendFile::Mode::kCreateNew);
    if (absl::IsAlreadyExists(file.status())) continue;
    if (!file.ok()) return file.status();
    std::string head = tensorboard::record(tensorboard::version_event(start));
    head += tensorboard::record(tensorboard::session_start_event(start, step + 1));
    WEFT_RETURN_IF_ERROR(file->write(head));
    return EventWriter(*std::move(file));
  }
}

absl::Status EventWriter::write_scalars(int64_t step, const Scalars& values) {
  return file_.write(tensorboard::record(tensorboard::scalar_event(now(), step, values)));
}

absl::Status EventWriter::write_text(int64_t step, const std::string& tag,
                                     const std::string& text) {
  return file_.write(tensorboard::record(tensorboard::text_event(now(), step, tag, text)));
}

}  // namespace weft
