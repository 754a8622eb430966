#pragma once
// SIGINT and SIGTERM as a request to finish the step, save and stop.
#include <csignal>

namespace weft {

// While it lives, the first signal sets `requested()`; a second SIGINT ends the process at once.
class StopSignals final {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  bool requested() const;

 private:
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
};

}  // namespace weft
