#pragma once
// Runs a program and says what came of it.
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

namespace weft {

namespace fs = std::filesystem;

inline std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_text(const fs::path& path, const std::string& text) {
  if (path.has_parent_path()) fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// In memory where the system has such a place: for tests that would wait for many flushes.
inline fs::path fast_folder() {
  return access("/dev/shm", W_OK) == 0 ? fs::path("/dev/shm") : fs::temp_directory_path();
}

// A folder of the test's own, removed at the end.
class TemporaryFolder final {
 public:
  explicit TemporaryFolder(const fs::path& parent = fs::temp_directory_path()) {
    std::string name = (parent / "weft-test-XXXXXX").string();
    WEFT_CHECK(mkdtemp(name.data()) != nullptr, name);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

struct ProcessOptions {
  fs::path folder;                          // current folder of the process
  std::vector<std::string> environment;     // NAME=value
  std::optional<int64_t> file_limit_bytes;  // RLIMIT_FSIZE
  bool ignore_file_limit_signal = false;    // then a write beyond it fails with EFBIG
};

struct Outcome {
  int exit_status = -1;  // of a process that ended by itself
  int signal = 0;        // that ended it
  std::string output;    // standard output and error
  int64_t peak_kib = 0;  // resident set
};

class Process final {
 public:
  Process(const std::vector<std::string>& command, const ProcessOptions& options)
      : output_(options.folder / ("output-" + std::to_string(counter()++))) {
    pid_ = fork();
    if (pid_ == 0) run_child(command, options);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }

  pid_t pid() const { return pid_; }
  void kill(int number) const { ::kill(pid_, number); }
  bool running() const {
    siginfo_t info{};
    return waitid(P_PID, pid_, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
  }

  Outcome wait() {
    int status = 0;
    struct rusage usage {};
    wait4(pid_, &status, 0, &usage);
    pid_ = -1;
    Outcome outcome;
    if (WIFEXITED(status)) outcome.exit_status = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
    outcome.output = contents(output_);
    outcome.peak_kib = usage.ru_maxrss;
    return outcome;
  }

 private:
  static int& counter() {
    static int count = 0;
    return count;
  }

  [[noreturn]] void run_child(const std::vector<std::string>& command,
                              const ProcessOptions& options) {
    const int file = open(output_.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    if (chdir(options.folder.c_str()) != 0) _exit(126);
    for (const std::string& variable : options.environment) {
      const size_t equals = variable.find('=');
      setenv(variable.substr(0, equals).c_str(), variable.substr(equals + 1).c_str(), 1);
    }
    if (options.file_limit_bytes.has_value()) {
      const rlimit limit{static_cast<rlim_t>(*options.file_limit_bytes), RLIM_INFINITY};
      setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (options.ignore_file_limit_signal) signal(SIGXFSZ, SIG_IGN);
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    execv(arguments[0], arguments.data());
    _exit(127);
  }

  fs::path output_;
  pid_t pid_ = -1;
};

// Waits until `condition` holds or the process has ended; whether it holds.
template <class F>
bool wait_until(const Process& process, F condition) {
  while (process.running()) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return condition();
}

}  // namespace weft
