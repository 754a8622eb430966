#include "base/file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

namespace weft {
namespace {

// Opening a pipe must not wait for its writer.
constexpr int kReadFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;

std::string reason() { return std::strerror(errno); }

// Input that cannot be read.
absl::Status unreadable(const fs::path& path, const std::string& what) {
  return bad_input(path.string(), ": ", what);
}

// The system refused (errno): a file that is not there or that the disk has lost is bad input, any
// other one may be right.
absl::Status refused(const fs::path& path, const char* what = "") {
  const int number = errno;
  const std::string message = absl::StrCat(what, std::strerror(number));
  const bool lost = number == ENOENT || number == ENOTDIR || number == EIO;
  return lost ? unreadable(path, message) : unreadable_input(path.string(), ": ", message);
}

// A descriptor that is closed at the end of the scope.
class Descriptor final {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

absl::StatusOr<int64_t> regular_file_size(int descriptor, const fs::path& path) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return refused(path);
  if (!S_ISREG(status.st_mode)) return unreadable(path, "is not a regular file");
  return static_cast<int64_t>(status.st_size);
}

}  // namespace

absl::StatusOr<std::string> read_file(const fs::path& path, int64_t limit_bytes) {
  const Descriptor file(::open(path.c_str(), kReadFlags));
  if (file.get() < 0) return refused(path);
  WEFT_ASSIGN_OR_RETURN(const int64_t size, regular_file_size(file.get(), path));
  if (size > limit_bytes) {
    return unreadable(path,
                      absl::StrCat("has ", size, " bytes, at most ", limit_bytes, " are read"));
  }
  std::string text(static_cast<size_t>(size), '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return refused(path);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  text.resize(done);
  return text;
}

absl::StatusOr<MappedFile> MappedFile::open(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), kReadFlags));
  if (file.get() < 0) return refused(path);
  WEFT_ASSIGN_OR_RETURN(const int64_t size, regular_file_size(file.get(), path));
  if (size == 0) return MappedFile(path, nullptr, 0);
  void* data = mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) return refused(path, "cannot be mapped: ");
  return MappedFile(path, static_cast<const std::byte*>(data), static_cast<size_t>(size));
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(std::span<const std::byte> part) const {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGE_SIZE));
  const auto first = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const auto last = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
  // Advice: where it is not taken, the pages stay.
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

struct AtomicFile::Hash {
  XXH3_state_t* state = XXH3_createState();
};

AtomicFile::AtomicFile(fs::path path)
    : path_(std::move(path)), temporary_(path_.string() + ".tmp"), hash_(new Hash, [](Hash* hash) {
        XXH3_freeState(hash->state);
        delete hash;
      }) {
  XXH3_64bits_reset(hash_->state);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_),
      hash_(std::move(other.hash_)) {}

absl::StatusOr<AtomicFile> AtomicFile::create(const fs::path& path) {
  AtomicFile file(path);
  file.descriptor_ =
      ::open(file.temporary_.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
  if (file.descriptor_ < 0) {
    return run_failure(file.temporary_.string(), ": cannot be created: ", reason());
  }
  return file;
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

absl::Status AtomicFile::write(std::span<const std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(descriptor_, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return run_failure(path_.string(), ": writing ", bytes.size(), " bytes at ", size_,
                         " failed: ", reason());
    }
    done += static_cast<size_t>(n);
  }
  XXH3_64bits_update(hash_->state, bytes.data(), bytes.size());
  size_ += static_cast<int64_t>(bytes.size());
  return absl::OkStatus();
}

uint64_t AtomicFile::checksum() const { return XXH3_64bits_digest(hash_->state); }

absl::Status AtomicFile::commit() {
  const bool flushed = fsync(descriptor_) == 0;
  const std::string why = reason();
  const bool closed = ::close(std::exchange(descriptor_, -1)) == 0;
  if (!flushed || !closed) {
    const std::string close_reason = flushed ? reason() : why;
    ::unlink(temporary_.c_str());
    return run_failure(path_.string(), ": flushing ", size_, " bytes failed: ", close_reason);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const std::string rename_reason = reason();
    ::unlink(temporary_.c_str());
    return run_failure(path_.string(), ": cannot be put in place: ", rename_reason);
  }
  return sync_folder(path_.has_parent_path() ? path_.parent_path() : fs::path("."));
}

absl::StatusOr<NewFolder> NewFolder::create(const fs::path& path) {
  if (path.empty()) return bad_input("the name of a new folder is empty");
  std::error_code error;
  if (fs::exists(fs::symlink_status(path, error))) {
    return bad_input(path.string(), ": exists; give the name of a new folder");
  }
  fs::path whole = path;
  if (whole.filename().empty()) whole = whole.parent_path();  // a slash at the end
  const fs::path temporary = fs::path(whole) += ".tmp";
  if (fs::exists(fs::symlink_status(temporary, error))) {
    return bad_input(temporary.string(),
                     ": is in the way; if a command that was interrupted has left "
                     "it, remove it");
  }
  if (!fs::create_directories(temporary, error) || error) {
    return bad_input(temporary.string(), ": cannot be made: ", error.message());
  }
  return NewFolder(std::move(whole), temporary);
}

NewFolder::~NewFolder() {
  std::error_code error;
  if (!temporary_.empty()) fs::remove_all(temporary_, error);
}

absl::Status NewFolder::commit() {
  WEFT_RETURN_IF_ERROR(sync_folder(temporary_));
  std::error_code error;
  fs::rename(temporary_, path_, error);
  if (error) {
    return run_failure(path_.string(), ": cannot be put in place: ", error.message());
  }
  temporary_.clear();
  const fs::path parent = path_.parent_path();
  return sync_folder(parent.empty() ? fs::path(".") : parent);
}

absl::Status write_file(const fs::path& path, std::string_view text) {
  WEFT_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  WEFT_RETURN_IF_ERROR(file.write(text));
  return file.commit();
}

absl::Status sync_folder(const fs::path& folder) {
  const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() < 0 || fsync(descriptor.get()) != 0) {
    return run_failure(folder.string(), ": flushing the folder failed: ", reason());
  }
  return absl::OkStatus();
}

uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

absl::StatusOr<uint64_t> checksum_file(const fs::path& path) {
  constexpr size_t kPieceBytes = 4 << 20;  // in memory at a time
  WEFT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  XXH3_64bits_reset(state.get());
  for (std::span<const std::byte> rest = file.bytes(); !rest.empty();) {
    const std::span<const std::byte> piece = rest.first(std::min(rest.size(), kPieceBytes));
    XXH3_64bits_update(state.get(), piece.data(), piece.size());
    file.release(piece);
    rest = rest.subspan(piece.size());
  }
  return XXH3_64bits_digest(state.get());
}

std::string hex64(uint64_t value) { return absl::StrFormat("%016x", value); }

absl::Status sync_file(std::FILE* file, const fs::path& path) {
  if (fsync(fileno(file)) == 0) return absl::OkStatus();
  return run_failure(path.string(), ": flushing failed: ", reason());
}

absl::StatusOr<int64_t> free_bytes(const fs::path& path) {
  std::error_code error;
  fs::path existing = fs::absolute(path, error);
  while (!fs::exists(existing, error) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  struct statvfs info {};
  if (statvfs(existing.c_str(), &info) != 0) return unreadable(existing, reason());
  if (info.f_blocks == 0) return std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

absl::Status check_room(const fs::path& path, int64_t bytes) {
  WEFT_ASSIGN_OR_RETURN(const int64_t available, free_bytes(path));
  if (available >= bytes) return absl::OkStatus();
  return bad_input(path.string(), ": takes ", bytes, " bytes, ", available, " are free there");
}

absl::StatusOr<FileLock> FileLock::take(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  if (descriptor < 0) return unreadable(path, "cannot be created: " + reason());
  FileLock lock(descriptor);
  if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    const ssize_t n = ::pread(descriptor, holder, sizeof holder - 1, 0);
    const std::string who = n > 0 ? absl::StrCat("process ", holder) : "another process";
    return unreadable(path, "is locked by " + who + ", which works there; wait for it, or stop it");
  }
  const std::string self = std::to_string(getpid());
  if (ftruncate(descriptor, 0) != 0 ||
      ::pwrite(descriptor, self.data(), self.size(), 0) != static_cast<ssize_t>(self.size())) {
    return unreadable(path, "cannot be written: " + reason());
  }
  return lock;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace weft
