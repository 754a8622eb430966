#include "base/log.h"

#include <unistd.h>

#include <ctime>

namespace weft {

bool Log::is_terminal() { return isatty(STDERR_FILENO) == 1; }

bool Log::attach(const std::string& path) {
  std::lock_guard lock(mutex_);
  file_.reset(std::fopen(path.c_str(), "ae"));
  return file_ != nullptr;
}

void Log::erase_transient() {
  if (transient_drawn_) std::fputs("\r\033[K", stderr);
  transient_drawn_ = false;
}

void Log::write(const char* level, const std::string& text) {
  std::lock_guard lock(mutex_);
  if (echo_ == Echo::kYes) {
    erase_transient();
    std::fprintf(stderr, "%s%s\n", level, text.c_str());
    std::fflush(stderr);
  }
  if (file_) {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    char stamp[32];
    std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &utc);
    std::fprintf(file_.get(), "%s %s%s\n", stamp, level, text.c_str());
    std::fflush(file_.get());
  }
}

void Log::transient(const std::string& text) {
  std::lock_guard lock(mutex_);
  if (echo_ == Echo::kNo || !is_terminal()) return;
  erase_transient();
  if (!text.empty()) {
    std::fputs(text.c_str(), stderr);
    transient_drawn_ = true;
  }
  std::fflush(stderr);
}

}  // namespace weft
