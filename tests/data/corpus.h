#pragma once
// Small corpora on disk for the tests of this folder.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "base/tensor.h"
#include "data/shards.h"

namespace weft::test {

// An empty folder of the running test case; removed at the end.
class TemporaryFolder final {
 public:
  TemporaryFolder() {
    std::string pattern = (fs::temp_directory_path() / "weft-data-XXXXXX").string();
    const char* made = mkdtemp(pattern.data());
    WEFT_CHECK(made != nullptr, "cannot make ", pattern);
    path_ = made;
  }
  ~TemporaryFolder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

inline void put_file(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  ASSERT_TRUE(file.flush().good()) << path;
}

inline std::string get_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Writes the documents as they are, without end-of-document ids, and opens them.
inline TokenShards make_shards(const fs::path& prefix,
                               const std::vector<std::vector<int32_t>>& documents,
                               int64_t vocab_size = 257) {
  auto writer = TokenShardsWriter::create(prefix, vocab_size);
  WEFT_CHECK(writer.ok(), writer.status());
  for (const auto& document : documents) {
    const absl::Status added = writer->add_document(document);
    WEFT_CHECK(added.ok(), added);
  }
  const absl::Status finished = writer->finish();
  WEFT_CHECK(finished.ok(), finished);
  auto shards = TokenShards::open(prefix, vocab_size);
  WEFT_CHECK(shards.ok(), shards.status());
  return std::move(shards).value();
}

// All tokens of a document.
inline std::vector<int64_t> read_document(const TokenShards& shards, int64_t document) {
  std::vector<int64_t> tokens(static_cast<size_t>(shards.document_tokens(document)));
  shards.read(document, 0, shards.document_tokens(document), tokens);
  return tokens;
}

// A row of a [rows, T] tensor of T.
template <class T>
std::vector<T> row_of(const Tensor& tensor, int64_t row) {
  const T* begin = tensor.const_data_ptr<T>() + row * tensor.size(1);
  return {begin, begin + tensor.size(1)};
}

}  // namespace weft::test
