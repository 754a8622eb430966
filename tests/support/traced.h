#pragma once
// kill -9 before any chosen system call that changes files.
#include <initializer_list>

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

namespace weft {

enum class TracedEnd { kKilled, kFinished, kNotAllowed };

inline bool changes_files(uint64_t call) {
  for (const long known : {
#ifdef SYS_rename
           SYS_open, SYS_rename, SYS_symlink, SYS_unlink, SYS_mkdir, SYS_rmdir,
#endif
           SYS_openat, SYS_write, SYS_fsync, SYS_close, SYS_ftruncate, SYS_renameat, SYS_renameat2,
           SYS_symlinkat, SYS_unlinkat, SYS_mkdirat}) {
    if (call == static_cast<uint64_t>(known)) return true;
  }
  return false;
}

// Runs `body` in a forked child that is killed as it enters its `calls`-th (from 0) such call; or
// says that it finished before, or that this machine does not allow tracing.
template <class F>
TracedEnd kill_at_call(int calls, F body) {
  const pid_t pid = fork();
  WEFT_CHECK(pid >= 0, "fork");
  if (pid == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(1);
    raise(SIGSTOP);
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (!WIFSTOPPED(status)) return TracedEnd::kNotAllowed;
  ptrace(PTRACE_SETOPTIONS, pid, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  while (true) {
    ptrace(PTRACE_SYSCALL, pid, nullptr, nullptr);
    WEFT_CHECK(waitpid(pid, &status, 0) == pid, "waitpid");
    if (WIFEXITED(status)) return TracedEnd::kFinished;
    WEFT_CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80), "status ", status);
    __ptrace_syscall_info info{};
    ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
    if (info.op != PTRACE_SYSCALL_INFO_ENTRY || !changes_files(info.entry.nr)) continue;
    if (calls-- > 0) continue;
    ::kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return TracedEnd::kKilled;
  }
}

}  // namespace weft
