#include "trainer/stop_strings.h"

#include <algorithm>
#include <utility>

namespace weft {

std::string StopStrings::push(std::string_view piece) {
  if (stopped_) return "";
  held_ += piece;
  // The stop string that is complete first ends the text, however the text was cut into pieces.
  size_t stop = std::string::npos, stop_end = std::string::npos, held_from = held_.size();
  for (const std::string& string : strings_) {
    if (string.empty()) continue;
    const size_t found = held_.find(string);
    if (found != std::string::npos && found + string.size() < stop_end) {
      stop = found;
      stop_end = found + string.size();
    }
    for (size_t length = std::min(string.size() - 1, held_.size()); length > 0; --length) {
      const std::string_view end = std::string_view(held_).substr(held_.size() - length);
      if (!std::string_view(string).starts_with(end)) continue;
      held_from = std::min(held_from, held_.size() - length);
      break;
    }
  }
  stopped_ = stop != std::string::npos;
  const std::string shown = held_.substr(0, stopped_ ? stop : held_from);
  held_.erase(0, stopped_ ? held_.size() : held_from);
  return shown;
}

std::string StopStrings::finish() { return std::exchange(held_, ""); }

}  // namespace weft
