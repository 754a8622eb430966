#include "trainer/append_file.h"

#include <cerrno>
#include <cstring>

namespace weft {

absl::StatusOr<AppendFile> AppendFile::open(const fs::path& path, Mode mode) {
  std::FILE* file = std::fopen(path.c_str(), mode == Mode::kAppend ? "ae" : "wxe");
  if (file == nullptr) {
    const int reason = errno;
    const std::string text = internal::join_parts(
        path.string(), ": cannot be opened for writing: ", std::strerror(reason));
    return reason == EEXIST ? absl::AlreadyExistsError(text) : absl::InvalidArgumentError(text);
  }
  // Without a buffer, fwrite hands a piece to the system whole.
  std::setvbuf(file, nullptr, _IONBF, 0);
  return AppendFile(path, file);
}

absl::Status AppendFile::write(std::string_view bytes) {
  errno = 0;
  const size_t written = std::fwrite(bytes.data(), 1, bytes.size(), file_.get());
  if (written == bytes.size()) return absl::OkStatus();
  return run_failure(path_.string(), ": wrote ", written, " of ", bytes.size(),
                     " bytes: ", std::strerror(errno));
}

}  // namespace weft
