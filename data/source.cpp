// Sources: finding text files, and the cache of their tokens.
//
// A cached source is three files in the cache folder: NAME.bin and NAME.idx, and NAME.sum with the
// checksums of both, written last. NAME holds the tokenizer and a hash of the texts, so a changed
// text or tokenizer has another name, and whatever is wrong with a cached pair is cured by making
// it again. Processes that make the same pair at the same time do so beside each other, in slots
// NAME.0, NAME.1,
// ..., and put equal files in place.
#include <algorithm>
#include <optional>
#include <system_error>

#include "absl/strings/str_cat.h"

#include "base/check.h"
#include "data/shards.h"

namespace weft {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;  // of text, between two reports of progress
constexpr int kSlots = 64;

fs::path with_ending(fs::path prefix, const char* ending) { return prefix += ending; }

enum class Form { kFolder, kText, kPair };

Form form_of(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return Form::kFolder;
  return path.extension() == ".txt" ? Form::kText : Form::kPair;
}

struct TextFile {
  std::string name;  // relative to the source, with '/'
  fs::path path;
  int64_t bytes = 0;
  uint64_t hash = 0;
};

// The .txt files under a folder (linked folders are not followed), or at most `limit` of them.
absl::StatusOr<std::vector<TextFile>> find_texts(const fs::path& folder, size_t limit) {
  std::vector<TextFile> texts;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() != ".txt") continue;
    std::error_code not_a_file;
    if (!entry->is_regular_file(not_a_file)) continue;
    const fs::path relative = entry->path().lexically_relative(folder);
    texts.push_back({.name = relative.generic_string(), .path = entry->path()});
    if (texts.size() == limit) break;
  }
  if (error) return bad_input(folder.string(), ": cannot list the folder: ", error.message());
  std::sort(texts.begin(), texts.end(),
            [](const TextFile& a, const TextFile& b) { return a.name < b.name; });
  return texts;
}

// All text files of a source with their sizes and hashes.
absl::StatusOr<std::vector<TextFile>> read_texts(const fs::path& path) {
  std::vector<TextFile> texts{{.name = path.filename().string(), .path = path}};
  if (form_of(path) == Form::kFolder) {
    WEFT_ASSIGN_OR_RETURN(texts, find_texts(path, std::string::npos));
  }
  for (TextFile& text : texts) {
    WEFT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(text.path));
    text.bytes = static_cast<int64_t>(file.bytes().size());
    text.hash = checksum(file.bytes());
  }
  return texts;
}

int64_t total_bytes(const std::vector<TextFile>& texts) {
  int64_t total = 0;
  for (const TextFile& text : texts) total += text.bytes;
  return total;
}

std::string cache_name(const std::vector<TextFile>& texts, const Tokenizer& tokenizer) {
  std::string content;
  for (const TextFile& text : texts) {
    content += std::to_string(text.name.size()) + ":" + text.name + hex64(text.hash);
  }
  return tokenizer.fingerprint() + "-" + hex64(checksum(std::as_bytes(std::span(content))));
}

absl::StatusOr<std::string> pair_checksums(const fs::path& prefix) {
  WEFT_ASSIGN_OR_RETURN(const uint64_t bin, checksum_file(with_ending(prefix, ".bin")));
  WEFT_ASSIGN_OR_RETURN(const uint64_t index, checksum_file(with_ending(prefix, ".idx")));
  return hex64(bin) + " " + hex64(index) + "\n";
}

// Empty if the pair is not there, unfinished or damaged: all of it means that it has to be made.
std::optional<TokenShards> open_cached(const fs::path& prefix, const Tokenizer& tokenizer) {
  const absl::StatusOr<std::string> stored = read_file(with_ending(prefix, ".sum"), 256);
  if (!stored.ok()) return std::nullopt;
  const absl::StatusOr<std::string> found = pair_checksums(prefix);
  if (!found.ok() || *found != *stored) return std::nullopt;
  auto shards = TokenShards::open(prefix, tokenizer.vocab_size(), tokenizer.end_of_document());
  if (!shards.ok()) return std::nullopt;
  return std::move(shards).value();
}

// Tokenizes one file as a document; `done` counts bytes over all files.
absl::Status add_text(const TextFile& text, const Tokenizer& tokenizer, TokenShardsWriter& writer,
                      const std::function<void(int64_t bytes)>& report) {
  WEFT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(text.path));
  if (checksum(file.bytes()) != text.hash) {
    return bad_input(text.path.string(), ": changed while it was being read");
  }
  std::string_view rest(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  while (!rest.empty()) {
    const std::string_view piece = rest.substr(0, kPieceBytes);
    WEFT_RETURN_IF_ERROR(writer.append(tokenizer.encode(piece)));
    report(static_cast<int64_t>(piece.size()));
    rest.remove_prefix(piece.size());
  }
  const int32_t end = tokenizer.end_of_document();
  WEFT_RETURN_IF_ERROR(writer.append({&end, 1}));
  writer.end_document();
  return absl::OkStatus();
}

// Tokenizes all texts into the pair `prefix`.
absl::Status tokenize(const std::string& source, const std::vector<TextFile>& texts,
                      const Tokenizer& tokenizer, const fs::path& prefix,
                      const DataProgress& progress) {
  WEFT_ASSIGN_OR_RETURN(TokenShardsWriter writer,
                        TokenShardsWriter::create(prefix, tokenizer.vocab_size()));
  const int64_t total = total_bytes(texts);
  int64_t done = 0;
  const auto report = [&](int64_t bytes) {
    done += bytes;
    if (progress) progress(source, done, total);
  };
  for (const TextFile& text : texts) {
    if (text.bytes > 0) WEFT_RETURN_IF_ERROR(add_text(text, tokenizer, writer, report));
  }
  return writer.finish();
}

// A prefix beside `prefix` that this process alone writes to. The lock ends with the process, so
// what a killed one left is overwritten.
struct Slot {
  FileLock lock;
  fs::path prefix;
};

absl::StatusOr<Slot> take_slot(const fs::path& prefix) {
  absl::Status failure;
  for (int number = 0; number < kSlots; ++number) {
    const fs::path slot = with_ending(prefix, absl::StrCat(".", number).c_str());
    auto lock = FileLock::take(with_ending(slot, ".lock"));
    if (lock.ok()) return Slot{std::move(lock).value(), slot};
    failure = lock.status();
  }
  return failure;
}

// Renames the pair `made` to `prefix`, and what vouches for it last.
absl::Status put_in_place(const fs::path& made, const fs::path& prefix) {
  WEFT_ASSIGN_OR_RETURN(const std::string sums, pair_checksums(made));
  WEFT_RETURN_IF_ERROR(write_file(with_ending(made, ".sum"), sums));
  for (const char* ending : {".bin", ".idx", ".sum"}) {
    const fs::path path = with_ending(prefix, ending);
    std::error_code error;
    fs::rename(with_ending(made, ending), path, error);
    if (error) return run_failure(path.string(), ": cannot be put in place: ", error.message());
  }
  return sync_folder(prefix.parent_path());
}

absl::StatusOr<TokenShards> open_text(const fs::path& path, const Tokenizer& tokenizer,
                                      const fs::path& cache, const DataProgress& progress) {
  const std::string source = path.string();
  WEFT_ASSIGN_OR_RETURN(const std::vector<TextFile> texts, read_texts(path));
  if (total_bytes(texts) == 0) {
    return bad_input("'", source, "' has no text: 0 bytes in ", texts.size(), " .txt file(s)");
  }
  const fs::path prefix = cache / cache_name(texts, tokenizer);
  if (auto shards = open_cached(prefix, tokenizer)) return std::move(*shards);

  std::error_code error;
  fs::create_directories(cache, error);
  if (error) {
    return bad_input("cannot make the folder '", cache.string(), "' for the tokens of '", source,
                     "': ", error.message());
  }
  const std::string context = absl::StrCat("cannot cache the tokens of '", source, "'");
  const auto slot = take_slot(prefix);
  if (!slot.ok()) return in_context(slot.status(), context);
  absl::Status made = tokenize(source, texts, tokenizer, slot->prefix, progress);
  if (made.ok()) made = put_in_place(slot->prefix, prefix);
  if (!made.ok()) return in_context(made, context);
  return TokenShards::open(prefix, tokenizer.vocab_size(), tokenizer.end_of_document());
}

std::string quoted(const fs::path& path) { return absl::StrCat("'", path.string(), "'"); }

std::string check_folder(const fs::path& path) {
  const auto texts = find_texts(path, 1);
  if (!texts.ok()) return std::string(texts.status().message());
  return texts->empty() ? quoted(path) + " is a folder without any .txt file" : "";
}

std::string check_text(const fs::path& path) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) return "";
  return quoted(path) + (fs::exists(path, error) ? " is not a regular file" : " does not exist");
}

std::string check_pair(const fs::path& path) {
  std::error_code error;
  const bool bin = fs::is_regular_file(with_ending(path, ".bin"), error);
  const bool index = fs::is_regular_file(with_ending(path, ".idx"), error);
  if (bin && index) return "";
  if (bin) return quoted(path) + ": there is a .bin file of this name, but no .idx";
  if (index) return quoted(path) + ": there is an .idx file of this name, but no .bin";
  if (!fs::exists(path, error)) {
    return quoted(path) + " does not exist; expected a folder of .txt files, a .txt file, or the " +
           "prefix of a .bin/.idx pair";
  }
  if (path.extension() == ".bin" || path.extension() == ".idx") {
    return quoted(path) + ": write the prefix of the pair, without " + path.extension().string();
  }
  return quoted(path) + " is neither a folder nor a .txt file nor the prefix of a .bin/.idx pair";
}

}  // namespace

std::string check_source(const fs::path& path) {
  switch (form_of(path)) {
    case Form::kFolder:
      return check_folder(path);
    case Form::kText:
      return check_text(path);
    case Form::kPair:
      return check_pair(path);
  }
  return "";
}

bool is_text_source(const fs::path& path) { return form_of(path) != Form::kPair; }

absl::StatusOr<TokenShards> open_source(const fs::path& path, const Tokenizer& tokenizer,
                                        int64_t vocab_size, const fs::path& cache,
                                        const DataProgress& progress) {
  if (const std::string problem = check_source(path); !problem.empty()) return bad_input(problem);
  if (form_of(path) != Form::kPair) {
    if (!tokenizer.reads_text()) {
      return bad_input("'", path.string(), "' is text, and the tokenizer takes token ids alone");
    }
    if (vocab_size < tokenizer.vocab_size()) {
      return bad_input("the tokens of '", path.string(), "' need a vocabulary of ",
                       tokenizer.vocab_size(), " ids, the model has ", vocab_size);
    }
    return open_text(path, tokenizer, cache, progress);
  }
  WEFT_ASSIGN_OR_RETURN(TokenShards shards,
                        TokenShards::open(path, vocab_size, tokenizer.end_of_document()));
  if (shards.num_text_bytes() == 0) return bad_input("'", path.string(), "' has no text");
  return shards;
}

}  // namespace weft
