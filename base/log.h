#pragma once
// Logging: one record a line, to the rank's log file and, from rank 0, to standard error.
//
//   Log log(run_dir / "log.0.txt", Log::Echo::kYes);
//   log.info("resuming from ", checkpoint, " at step ", step);
//
// A Log is made in `main` and handed down; there is no global logger. Libraries below `trainer`
// return errors instead of logging.
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>

#include "base/check.h"

namespace weft {

class Log final {
 public:
  enum class Echo { kNo, kYes };

  // Writes to standard error alone until a file is attached.
  explicit Log(Echo echo) : echo_(echo) {}

  // Appends to `path` from now on. False if the file cannot be opened.
  bool attach(const std::string& path);

  template <class... Parts>
  void info(const Parts&... parts) {
    write("", internal::join_parts(parts...));
  }
  template <class... Parts>
  void warning(const Parts&... parts) {
    write("warning: ", internal::join_parts(parts...));
  }
  template <class... Parts>
  void error(const Parts&... parts) {
    write("error: ", internal::join_parts(parts...));
  }

  // A line that is redrawn in place on a terminal (progress); never reaches the file. An empty text
  // removes it.
  void transient(const std::string& text);

  // Whether standard error is a terminal, so that transient lines are worth drawing.
  static bool is_terminal();

 private:
  struct FileCloser {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  void write(const char* level, const std::string& text);
  void erase_transient();

  Echo echo_;
  std::mutex mutex_;
  std::unique_ptr<std::FILE, FileCloser> file_;
  bool transient_drawn_ = false;
};

}  // namespace weft
