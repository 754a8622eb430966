#pragma once
// Files: reading with limits, memory mapping, and writing so that a name either shows the whole new
// content or the old one, also after a power cut. The only place that calls mmap and fsync.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace weft {

namespace fs = std::filesystem;

// The whole file as text. A file over `limit_bytes`, a directory or an unreadable one is an error
// that names the path; a too large file is not read.
absl::StatusOr<std::string> read_file(const fs::path& path, int64_t limit_bytes);

// A read-only mapping of a whole file. An empty file maps to an empty span.
class MappedFile final {
 public:
  static absl::StatusOr<MappedFile> open(const fs::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const fs::path& path() const { return path_; }
  // Gives back the memory behind a part of the mapping; reading it again reads the file again.
  void release(std::span<const std::byte> part) const;

 private:
  MappedFile(fs::path path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  fs::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Writes `path`.tmp in pieces and, at commit, flushes, fsyncs and renames it to `path`, then fsyncs
// the folder. Without commit the temporary file is removed. Every write may fail (disk full): the
// message names the path, what was asked for and the system's reason.
class AtomicFile final {
 public:
  static absl::StatusOr<AtomicFile> create(const fs::path& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  absl::Status write(std::span<const std::byte> bytes);
  absl::Status write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  // Bytes written so far and their XXH3-64, kept up while writing.
  int64_t size() const { return size_; }
  uint64_t checksum() const;
  absl::Status commit();

 private:
  explicit AtomicFile(fs::path path);
  struct Hash;
  fs::path path_;
  fs::path temporary_;
  int descriptor_ = -1;
  int64_t size_ = 0;
  std::unique_ptr<Hash, void (*)(Hash*)> hash_;
};

// A folder that is there whole or not at all: files are written into `path`.tmp, which commit
// renames to `path`. Without commit it is removed.
class NewFolder final {
 public:
  // Bad input if `path` exists, or `path`.tmp: a killed process may have left it, or anybody else.
  static absl::StatusOr<NewFolder> create(const fs::path& path);
  NewFolder(NewFolder&& other) noexcept
      : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})) {}
  NewFolder& operator=(NewFolder&&) = delete;
  ~NewFolder();

  const fs::path& temporary() const { return temporary_; }
  absl::Status commit();

 private:
  NewFolder(fs::path path, fs::path temporary)
      : path_(std::move(path)), temporary_(std::move(temporary)) {}
  fs::path path_, temporary_;
};

// AtomicFile in one call.
absl::Status write_file(const fs::path& path, std::string_view text);

// fsync of a folder, so that renames in it survive a power cut.
absl::Status sync_folder(const fs::path& folder);

// Returns once what was written to `file` (unbuffered, named `path`) survives a power cut.
absl::Status sync_file(std::FILE* file, const fs::path& path);

// XXH3-64 of bytes or of a file's content (a few MB in memory at a time), and its 16 lower-case hex
// digits.
uint64_t checksum(std::span<const std::byte> bytes);
absl::StatusOr<uint64_t> checksum_file(const fs::path& path);
std::string hex64(uint64_t value);

// Free bytes for an ordinary user on the file system that holds `path` (its nearest existing
// parent); the largest number where it does not tell.
absl::StatusOr<int64_t> free_bytes(const fs::path& path);
// Bad input if fewer than `bytes` are free there.
absl::Status check_room(const fs::path& path, int64_t bytes);

// An exclusive advisory lock (flock) on a file, held until destruction or process death. A file
// that another process has locked gives an error that names the file and, where known, the process
// id.
class FileLock final {
 public:
  static absl::StatusOr<FileLock> take(const fs::path& path);
  FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace weft
