#pragma once
// Where time goes: LibTorch's operators and weft's own kernels, while a profile is taken.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace weft {

// What a kernel must do, whatever it is made of: multiply-adds count 2, and bytes are those of its
// operands and results, each once.
struct Work {
  double flops = 0, bytes = 0;
};

enum class WorkKind {
  kProduct,      // of matrices
  kAttention,    // products and softmax
  kScan,         // states of Mamba layers
  kConvolution,  // short and causal
  kNorm,
  kElementwise,  // and sums over rows
  kCopy,         // copies, joins, gathers, conversions, zeros
  kLoss,         // cross-entropy
  kOptimizer,
  kAutograd,  // backward nodes themselves, beside what they call
  kOther,     // views, allocations, unknown operators
};
inline constexpr int kWorkKinds = static_cast<int>(WorkKind::kOther) + 1;

// "matrix products", ...
const char* name_of(WorkKind kind);

// All that was done of a kind.
struct WorkSum {
  WorkKind kind = WorkKind::kOther;
  double seconds = 0;  // without what was called meanwhile
  int64_t calls = 0;
  Work work;
};

// Observes the thread that starts it, and the threads that run its backward passes, from each
// start() to the next stop(). One at a time in a process.
class Profile final {
 public:
  Profile();
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  void start();
  void stop();
  // Seconds between starts and stops. REQUIRES: stopped, as all below.
  double seconds() const;
  // A sum for each kind, in the order of WorkKind.
  std::vector<WorkSum> sums() const;
  // All calls as a trace for chrome://tracing or ui.perfetto.dev.
  absl::Status write_chrome_trace(const fs::path& file) const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

// Around a kernel of weft's, on a thread that a profile observes. Costs a load where none is taken.
class ProfileSpan final {
 public:
  ProfileSpan(const char* name, WorkKind kind, const Work& work);
  ~ProfileSpan();
  ProfileSpan(const ProfileSpan&) = delete;
  ProfileSpan& operator=(const ProfileSpan&) = delete;

 private:
  bool active_;
};

}  // namespace weft
