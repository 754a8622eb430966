#pragma once
// Ending a text at the first of some strings, while it is still being made.
#include <string>
#include <string_view>
#include <vector>

namespace weft {

class StopStrings final {
 public:
  explicit StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {}

  // Takes the next piece of the text. Returns what may be shown now: all but an end that could be
  // the beginning of a stop string. Once one is complete, the text before it, and stopped() holds.
  std::string push(std::string_view piece);
  // What was held back, when no more text comes.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> strings_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace weft
