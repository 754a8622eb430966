#pragma once
// `weft train --profile`: where the time of some updates goes.
#include <string>

#include "base/log.h"
#include "base/profile.h"
#include "trainer/runtime.h"

namespace weft {

// What the time of a kind of work is measured by.
struct WorkBounds {
  double flops_per_s, bytes_per_s;  // of matrix products, and of copying (read and written)
};

// Lines of a table: for each kind the milliseconds of an update, its share of the time, calls, FLOP
// and bytes, and how far it is from its bound: the time that its FLOPs or its bytes take at the
// least, whichever is longer, over its time. The last line is what is in no operator. Bytes that
// stay in the caches from one operator to the next make shares over 100 %.
std::string profile_table(const std::vector<WorkSum>& sums, double seconds, int64_t updates,
                          const WorkBounds& bounds);

// Takes a profile of the kMeasured updates of a run behind the first kWarmUp ones of a call, then
// logs the table and writes the trace. With fewer updates: of those that there are.
class ProfileUpdates final {
 public:
  static constexpr int64_t kWarmUp = 3, kMeasured = 5;

  ProfileUpdates(fs::path trace_file, const Runtime& runtime, Log& log);
  void before_update();
  // Directly behind the update. `last`: no further one follows in this call.
  absl::Status after_update(bool last);

 private:
  absl::Status report();

  fs::path trace_file_;
  Runtime runtime_;
  Log& log_;
  Profile profile_;
  int64_t updates_ = 0;  // begun in this call
  bool done_ = false;
};

}  // namespace weft
