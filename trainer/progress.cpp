#include "trainer/progress.h"

#include <array>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace weft {
namespace {

// A number of three digits, and the power of 1000 that it counts in.
struct Scaled {
  std::string digits;
  const char* prefix;
};

Scaled scaled(double value) {
  static constexpr std::array kPrefixes = {"", "k", "M", "G", "T", "P"};
  if (!std::isfinite(value)) return {"?", ""};
  size_t power = 0;
  while (std::abs(value) >= 999.5 && power + 1 < kPrefixes.size()) {
    value /= 1000;
    ++power;
  }
  if (power == 0) return {absl::StrFormat("%.0f", value), ""};
  const int digits = std::abs(value) < 9.995 ? 2 : std::abs(value) < 99.95 ? 1 : 0;
  return {absl::StrFormat("%.*f", digits, value), kPrefixes[power]};
}

}  // namespace

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e12) return "?";
  if (seconds < 9.95) return absl::StrFormat("%.1fs", seconds);
  const int64_t s = std::llround(seconds);
  if (s < 60) return absl::StrFormat("%ds", s);
  if (s < 3600) return absl::StrFormat("%dm%02ds", s / 60, s % 60);
  const int64_t minutes = s / 60;
  if (minutes < 24 * 60) return absl::StrFormat("%dh%02dm", minutes / 60, minutes % 60);
  const int64_t hours = minutes / 60;
  return absl::StrFormat("%dd%02dh", hours / 24, hours % 24);
}

std::string bytes_text(int64_t bytes) {
  static constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 and more would be printed as 1024.0.
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string count_text(double count) {
  const Scaled number = scaled(count);
  return absl::StrCat(number.digits, number.prefix);
}

std::string amount_text(double amount, const std::string& unit) {
  const Scaled number = scaled(amount);
  return absl::StrCat(number.digits, " ", number.prefix, unit);
}

std::string progress_line(const Progress& p) {
  std::string line = absl::StrFormat("step %d/%d  loss %.4f", p.step, p.total_steps, p.loss);
  if (p.bits_per_byte.has_value()) {
    absl::StrAppendFormat(&line, "  valid %.3f bits/byte", *p.bits_per_byte);
  }
  absl::StrAppendFormat(&line, "  lr %.2e  %s tokens/s  eta %s", p.learning_rate,
                        count_text(p.tokens_per_s), duration_text(p.seconds_left));
  return line;
}

std::string record_line(const MetricsRow& row) {
  std::string line;
  for (const auto& [name, value] : row.values) {
    if (absl::StartsWith(name, "moe.")) continue;
    if (!line.empty()) line += " ";
    absl::StrAppend(&line, name, "=");
    if (const int64_t* integer = std::get_if<int64_t>(&value)) {
      absl::StrAppend(&line, *integer);
    } else {
      absl::StrAppendFormat(&line, "%.5g", std::get<double>(value));
    }
  }
  return line;
}

}  // namespace weft
