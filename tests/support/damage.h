#pragma once
// What disks and crashes do to files: cuts, flipped bits, a file that is gone.
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace weft {

// `text` as the new content. The old file goes first: some file systems flush one written over.
inline void replace_file(const fs::path& path, const std::string& text) {
  fs::remove(path);
  write_text(path, text);
}

// Damages every file of `folder` in turn and in many ways, calls `check` with the file and what was
// done to it, and puts the file back: cut at every 4 KiB and at odd places, a bit flipped at 40
// places, dropped.
inline void for_each_damage(
    const fs::path& folder,
    const std::function<void(const fs::path& file, const std::string& what)>& check) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  for (const fs::path& file : files) {
    const std::string whole = contents(file);
    std::set<size_t> cuts = {0, 1, 7, 8, 9, whole.size() / 2, whole.size() - 1};
    for (size_t size = 4096; size < whole.size(); size += 4096) cuts.insert(size);
    for (const size_t size : cuts) {
      if (size >= whole.size()) continue;
      replace_file(file, whole.substr(0, size));
      check(file, "cut to " + std::to_string(size));
    }
    for (size_t i = 0; i < 40; ++i) {
      const size_t at = i * (whole.size() - 1) / 39;
      std::string flipped = whole;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << (i % 8)));
      replace_file(file, flipped);
      check(file, "bit " + std::to_string(i % 8) + " of byte " + std::to_string(at));
    }
    fs::remove(file);
    check(file, "dropped");
    replace_file(file, whole);
  }
}

}  // namespace weft
