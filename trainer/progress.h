#pragma once
// The state of a run in one line for people: redrawn in place on a terminal, or a record of
// key=value elsewhere. Pure functions of their arguments.
#include <cstdint>
#include <optional>
#include <string>

#include "trainer/metrics.h"

namespace weft {

struct Progress {
  int64_t step = 0;  // updates done
  int64_t total_steps = 0;
  double loss = 0;                      // nats per target
  std::optional<double> bits_per_byte;  // of the last validation, where there was one
  double learning_rate = 0;
  double tokens_per_s = 0;
  double seconds_left = 0;
};

// "step 120/300  loss 1.8312  valid 2.641 bits/byte  lr 1.00e-03  12.3k tokens/s  eta 2m10s".
std::string progress_line(const Progress& progress);

// "step=120 tokens=983040 loss=1.8312 ...": names end in their units, doubles have 5 digits. The
// figures of single layers ("moe.<i>....") are left to the files.
std::string record_line(const MetricsRow& row);

// Two units at most: "0.4s", "45s", "2m10s", "1h05m", "3d02h". Negative or not finite: "?".
std::string duration_text(double seconds);
// Powers of 1024: "17 B", "1.5 KiB", "10.0 GiB".
std::string bytes_text(int64_t bytes);
// Powers of 1000: "950", "12.3k", "4.56M", "1.20T".
std::string count_text(double count);
// The same with a unit that takes the prefix: "950 FLOP/s", "826 GFLOP/s".
std::string amount_text(double amount, const std::string& unit);

}  // namespace weft
