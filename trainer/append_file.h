#pragma once
// A file that only grows, for readers that follow it while it does: each piece reaches the system
// in one write call before the call returns.
#include <cstdio>
#include <memory>
#include <string_view>

#include "base/file.h"

namespace weft {

class AppendFile final {
 public:
  enum class Mode { kAppend, kCreateNew };
  // kCreateNew: an AlreadyExists error if there is such a file. Otherwise a file that cannot be
  // opened is bad input; the message has the path and the system's reason.
  static absl::StatusOr<AppendFile> open(const fs::path& path, Mode mode);

  // Fails where the system does (a full disk); part of `bytes` may then be in the file.
  absl::Status write(std::string_view bytes);
  // What was written survives a power cut once this returns.
  absl::Status sync() { return sync_file(file_.get(), path_); }
  const fs::path& path() const { return path_; }

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  AppendFile(fs::path path, std::FILE* file) : path_(std::move(path)), file_(file) {}

  fs::path path_;
  std::unique_ptr<std::FILE, Closer> file_;
};

}  // namespace weft
