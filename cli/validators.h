#pragma once
// What values of options may be.
#include <cmath>
#include <string>

#include <CLI/CLI.hpp>

namespace weft {

// From low to high, both included: CLI::Range, which lets "nan" through, without it.
inline CLI::Validator real_range(double low, double high) {
  const CLI::Validator number(
      [](std::string& text) -> std::string {
        double value = 0;
        const bool read = CLI::detail::lexical_cast(text, value);
        return read && !std::isnan(value) ? "" : "Value " + text + " is not a number";
      },
      "");
  return CLI::Range(low, high) & number;
}

// A text with something in it.
inline CLI::Validator non_empty_text() {
  return CLI::Validator([](std::string& text) { return text.empty() ? "is empty" : ""; }, "");
}

}  // namespace weft
