#pragma once
// Runs a function in a forked copy of the test, where it may set limits and die.
#include <optional>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

namespace weft {

struct ChildEnd {
  int exit_status = -1;  // what `body` returned, if it came to that
  int signal = 0;        // that ended the child
};

// `body` returns the exit status, in [0, 255].
template <class F>
ChildEnd run_forked(F body) {
  const pid_t pid = fork();
  WEFT_CHECK(pid >= 0, "fork");
  if (pid == 0) _exit(body());
  int status = 0;
  WEFT_CHECK(waitpid(pid, &status, 0) == pid, "waitpid");
  ChildEnd end;
  if (WIFEXITED(status)) end.exit_status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  return end;
}

enum class BeyondLimit { kFails, kKills };

// From now on no file of this process grows beyond `bytes`, as on a full disk. For forked children.
inline void limit_files(int64_t bytes, BeyondLimit beyond) {
  const rlimit limit{static_cast<rlim_t>(bytes), RLIM_INFINITY};
  WEFT_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
  const rlimit no_core{0, 0};
  WEFT_CHECK(setrlimit(RLIMIT_CORE, &no_core) == 0, "setrlimit");
  signal(SIGXFSZ, beyond == BeyondLimit::kFails ? SIG_IGN : SIG_DFL);
}

}  // namespace weft
