// Mutated .idx files, from a fixed seed: opening must refuse them, or give shards in which every
// document can be read.
#include <random>

#include "gtest/gtest.h"

#include "data/shards.h"
#include "tests/data/corpus.h"

namespace weft {
namespace {

constexpr int kMutations = 6000;
constexpr size_t kFields[] = {9, 17, 18, 26, 34, 38, 42, 50, 58, 66, 74};

// One to three changes: a bit, a byte, an interesting 64-bit value in a field, a cut or an
// extension.
std::string mutate(std::string idx, std::mt19937_64& random) {
  const uint64_t interesting[] = {0,
                                  1,
                                  2,
                                  3,
                                  5,
                                  0x7fffffff,
                                  0x80000000,
                                  uint64_t{1} << 63,
                                  ~uint64_t{0},
                                  ~uint64_t{0} / 12,
                                  random() % 100};
  for (uint64_t changes = 1 + random() % 3; changes > 0; --changes) {
    if (idx.empty()) return idx;
    const size_t at = random() % idx.size();
    switch (random() % 5) {
      case 0:
        idx[at] = static_cast<char>(idx[at] ^ (1 << random() % 8));
        break;
      case 1:
        idx[at] = static_cast<char>(random());
        break;
      case 2: {
        const uint64_t value = interesting[random() % std::size(interesting)];
        const size_t field = kFields[random() % std::size(kFields)];
        const std::string bytes(reinterpret_cast<const char*>(&value), 1 << random() % 4);
        if (field + bytes.size() <= idx.size()) idx.replace(field, bytes.size(), bytes);
        break;
      }
      case 3:
        idx.resize(at);
        break;
      default:
        idx.append(1 + random() % 16, static_cast<char>(random() % 3));
        break;
    }
  }
  return idx;
}

TEST(ShardsFuzz, MutatedIndexesAreRefusedOrReadable) {
  const test::TemporaryFolder folder;
  const fs::path prefix = folder.path() / "pair";
  test::make_shards(prefix, {{5, 6, 7, 256}, {9, 10, 256}});
  const std::string idx = test::get_file(folder.path() / "pair.idx");
  std::mt19937_64 random(20240607);
  int refused = 0;
  int opened = 0;
  for (int i = 0; i < kMutations; ++i) {
    test::put_file(folder.path() / "pair.idx", mutate(idx, random));
    const auto shards = TokenShards::open(prefix, 257);
    if (!shards.ok()) {
      ++refused;
      ASSERT_NE(shards.status().message().find("pair."), absl::string_view::npos);
      continue;
    }
    ++opened;
    int64_t tokens = 0;
    for (int64_t document = 0; document < shards->num_documents(); ++document) {
      for (const int64_t id : test::read_document(*shards, document)) {
        ASSERT_TRUE(0 <= id && id < 257) << id;
      }
      tokens += shards->document_tokens(document);
    }
    ASSERT_EQ(tokens, shards->num_tokens());
    ASSERT_LE(tokens, 14);  // bytes in .bin, at one byte a token
  }
  EXPECT_GT(refused, kMutations / 2);
  EXPECT_GT(opened, 50);
}

}  // namespace
}  // namespace weft
