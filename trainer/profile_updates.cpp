#include "trainer/profile_updates.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "trainer/machine.h"

namespace weft {

std::string profile_table(const std::vector<WorkSum>& sums, double seconds, int64_t updates,
                          const WorkBounds& bounds) {
  std::vector<WorkSum> rows;
  double rest = seconds;
  for (const WorkSum& sum : sums) {
    rest -= sum.seconds;
    if (sum.calls > 0) rows.push_back(sum);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const WorkSum& a, const WorkSum& b) { return a.seconds > b.seconds; });
  const double each = 1.0 / static_cast<double>(updates);
  std::string table = absl::StrFormat("%-16s %10s %6s %7s %9s %9s  %s\n", "", "ms/update", "share",
                                      "calls", "GFLOP", "GB", "of bound");
  for (const WorkSum& row : rows) {
    const double by_flops = row.work.flops / bounds.flops_per_s;
    const double by_bytes = row.work.bytes / bounds.bytes_per_s;
    const double bound = std::max(by_flops, by_bytes);
    absl::StrAppendFormat(&table, "%-16s %10.2f %5.1f%% %7.0f %9.2f %9.3f", name_of(row.kind),
                          1e3 * row.seconds * each, 100 * row.seconds / seconds,
                          static_cast<double>(row.calls) * each, row.work.flops * each / 1e9,
                          row.work.bytes * each / 1e9);
    if (bound > 0) {
      absl::StrAppendFormat(&table, "  %.0f %% (%s)", 100 * bound / row.seconds,
                            by_flops >= by_bytes ? "FLOP" : "bytes");
    }
    table += "\n";
  }
  absl::StrAppendFormat(&table, "%-16s %10.2f %5.1f%%", "in no operator", 1e3 * rest * each,
                        100 * rest / seconds);
  return table;
}

ProfileUpdates::ProfileUpdates(fs::path trace_file, const Runtime& runtime, Log& log)
    : trace_file_(std::move(trace_file)), runtime_(runtime), log_(log) {}

void ProfileUpdates::before_update() {
  if (!done_ && updates_++ >= kWarmUp) profile_.start();
}

absl::Status ProfileUpdates::after_update(bool last) {
  profile_.stop();
  if (done_ || (updates_ < kWarmUp + kMeasured && !last)) return absl::OkStatus();
  done_ = true;
  if (updates_ > kWarmUp) return report();
  log_.warning("no profile: it is taken behind the first ", kWarmUp,
               " updates of a call, and this one had no more");
  return absl::OkStatus();
}

absl::Status ProfileUpdates::report() {
  const int64_t updates = updates_ - kWarmUp;
  WEFT_RETURN_IF_ERROR(profile_.write_chrome_trace(trace_file_));
  const WorkBounds bounds{
      .flops_per_s = measure_matmul_peak(runtime_.types.compute, runtime_.types.device),
      .bytes_per_s = measure_copy_bandwidth()};
  log_.info(
      "profile of ", updates, " updates, ",
      absl::StrFormat("%.1f ms each, beside %.0f GFLOP/s of matrix products and %.1f GB/s of "
                      "copying; all calls are in %s",
                      1e3 * profile_.seconds() / static_cast<double>(updates),
                      bounds.flops_per_s / 1e9, bounds.bytes_per_s / 1e9, trace_file_.string()),
      "\n", profile_table(profile_.sums(), profile_.seconds(), updates, bounds));
  return absl::OkStatus();
}

}  // namespace weft
