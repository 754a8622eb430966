#pragma once
// Small damage to a text or a file, for tests that read it afterwards.
#include <algorithm>
#include <iterator>
#include <string>

#include "base/random.h"

namespace weft {

// One change: another bit, another byte, a piece left out, doubled or put elsewhere, or a word of
// JSON's grammar. `draw` numbers the changes that one stream makes.
inline void mutate(std::string& bytes, const RandomStream& stream, uint64_t draw) {
  constexpr const char* kWords[] = {"{",  "}",   "[",  "]",    "\"",  ":",  ",",
                                    "-1", "1e9", "{}", "null", "\\u", "00", "9223372036854775807"};
  const auto below = [&](uint64_t index, size_t bound) {
    return static_cast<size_t>(stream.below(8 * draw + index, bound));
  };
  if (bytes.empty()) return;
  const size_t at = below(0, bytes.size());
  const size_t length = 1 + below(1, std::min<size_t>(16, bytes.size() - at));
  const std::string piece = bytes.substr(at, length);
  switch (below(2, 6)) {
    case 0:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(3, 8)));
      return;
    case 1:
      bytes[at] = static_cast<char>(below(3, 256));
      return;
    case 2:
      bytes.erase(at, length);
      return;
    case 3:
      bytes.insert(at, piece);
      return;
    case 4:
      bytes.insert(below(3, bytes.size()), piece);
      return;
    default:
      bytes.replace(at, 1, kWords[below(3, std::size(kWords))]);
      return;
  }
}

}  // namespace weft
