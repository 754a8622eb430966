#include "data/shards.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/data/corpus.h"

namespace weft {
namespace {

using test::get_file;
using test::make_shards;
using test::put_file;
using test::read_document;
using testing::ElementsAre;
using testing::HasSubstr;

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// The test values of spec/formats.md 2.4: documents [5, 6, 7] and [9, 10] as u16.
const std::string kBin = from_hex(
    "0500060007000900"
    "0a00");
const std::string kIdx = from_hex(
    "4d4d494449445800000100000000000000080200000000000000"
    "03000000000000000300000002000000"
    "000000000000000006000000000000000000000000000000"
    "01000000000000000200000000000000");

// An .idx from its parts.
struct IdxParts {
  std::string magic = std::string("MMIDIDX\0\0", 9);
  uint64_t version = 1;
  uint8_t dtype_code = 8;
  std::vector<int32_t> lengths = {3, 2};
  std::vector<int64_t> offsets = {0, 6};
  std::vector<int64_t> documents = {0, 1, 2};
  std::string modes{};

  std::string bytes() const {
    std::string text = magic + raw(version) + raw(dtype_code) + raw<uint64_t>(lengths.size()) +
                       raw<uint64_t>(documents.size());
    for (const int32_t length : lengths) text += raw(length);
    for (const int64_t offset : offsets) text += raw(offset);
    for (const int64_t first : documents) text += raw(first);
    return text + modes;
  }
};

class Shards : public testing::Test {
 protected:
  fs::path prefix() const { return folder_.path() / "pair"; }
  void put_pair(const std::string& bin, const std::string& idx) {
    put_file(folder_.path() / "pair.bin", bin);
    put_file(folder_.path() / "pair.idx", idx);
  }
  // The message of opening a pair that is wrong.
  std::string complaint(const std::string& bin, const std::string& idx, int64_t vocab_size = 257) {
    put_pair(bin, idx);
    const auto shards = TokenShards::open(prefix(), vocab_size);
    if (shards.ok()) return "opened";
    EXPECT_EQ(exit_status(shards.status()), 2);
    return std::string(shards.status().message());
  }
  std::string complaint(const IdxParts& parts) { return complaint(kBin, parts.bytes()); }

  test::TemporaryFolder folder_;
};

TEST_F(Shards, WritesTheBytesOfTheSpecification) {
  make_shards(prefix(), {{5, 6, 7}, {}, {9, 10}});
  EXPECT_EQ(get_file(folder_.path() / "pair.bin"), kBin);
  EXPECT_EQ(get_file(folder_.path() / "pair.idx"), kIdx);
  EXPECT_EQ(kIdx, IdxParts{}.bytes());
}

TEST_F(Shards, ReadsAnyPartOfADocument) {
  put_pair(kBin, kIdx);
  const auto shards = TokenShards::open(prefix(), 257);
  ASSERT_TRUE(shards.ok()) << shards.status();
  EXPECT_EQ(shards->num_documents(), 2);
  EXPECT_EQ(shards->num_tokens(), 5);
  EXPECT_EQ(shards->num_text_bytes(), 5);
  EXPECT_THAT(read_document(*shards, 0), ElementsAre(5, 6, 7));
  EXPECT_THAT(read_document(*shards, 1), ElementsAre(9, 10));
  std::vector<int64_t> one(1);
  shards->read(0, 1, 2, one);
  EXPECT_THAT(one, ElementsAre(6));
  shards->read(1, 2, 2, {});
}

TEST_F(Shards, WideVocabulariesTakeFourBytesAToken) {
  const TokenShards shards = make_shards(prefix(), {{70000, 1}}, 70001);
  EXPECT_THAT(read_document(shards, 0), ElementsAre(70000, 1));
  EXPECT_EQ(get_file(folder_.path() / "pair.bin"), raw<int32_t>(70000) + raw<int32_t>(1));
  EXPECT_EQ(get_file(folder_.path() / "pair.idx")[17], 4);
  make_shards(prefix(), {{65499}}, 65500);
  EXPECT_EQ(get_file(folder_.path() / "pair.idx")[17], 4);
  make_shards(prefix(), {{65498}}, 65499);
  EXPECT_EQ(get_file(folder_.path() / "pair.idx")[17], 8);
}

TEST_F(Shards, EveryIntegerTypeIsReadAndTheAmbiguousOnesAreRefused) {
  const auto bytes_of = [](int code) -> std::string {
    switch (code) {
      case 1:
        return raw<uint8_t>(7) + raw<uint8_t>(100);
      case 2:
        return raw<int8_t>(7) + raw<int8_t>(100);
      case 3:
        return raw<int16_t>(7) + raw<int16_t>(100);
      case 4:
        return raw<int32_t>(7) + raw<int32_t>(100);
      case 5:
        return raw<int64_t>(7) + raw<int64_t>(100);
      default:
        return raw<uint16_t>(7) + raw<uint16_t>(100);
    }
  };
  for (const int code : {1, 2, 3, 4, 5, 8}) {
    const IdxParts parts{.dtype_code = static_cast<uint8_t>(code),
                         .lengths = {2},
                         .offsets = {0},
                         .documents = {0, 1}};
    put_pair(bytes_of(code), parts.bytes());
    const auto shards = TokenShards::open(prefix(), 101);
    ASSERT_TRUE(shards.ok()) << shards.status();
    EXPECT_THAT(read_document(*shards, 0), ElementsAre(7, 100)) << code;
    EXPECT_FALSE(TokenShards::open(prefix(), 100).ok()) << code;
  }
  for (const int code : {0, 6, 7, 9, 255}) {
    EXPECT_THAT(complaint(IdxParts{.dtype_code = static_cast<uint8_t>(code)}),
                HasSubstr("pair.idx: dtype code: is " + std::to_string(code) + ", must be"));
  }
}

TEST_F(Shards, DocumentsOfSeveralSequencesInAnyOrderOfTheFile) {
  // Document 0: [9, 10] then [5, 6, 7]; document 1: nothing; document 2: an empty sequence and [7].
  const IdxParts parts{
      .lengths = {2, 3, 0, 1}, .offsets = {6, 0, 10, 4}, .documents = {0, 2, 2, 4}};
  put_pair(kBin + raw<uint16_t>(1), parts.bytes());
  const auto shards = TokenShards::open(prefix(), 257);
  ASSERT_TRUE(shards.ok()) << shards.status();
  ASSERT_EQ(shards->num_documents(), 3);
  EXPECT_THAT(read_document(*shards, 0), ElementsAre(9, 10, 5, 6, 7));
  EXPECT_THAT(read_document(*shards, 1), ElementsAre());
  EXPECT_THAT(read_document(*shards, 2), ElementsAre(7));
  std::vector<int64_t> middle(3);
  shards->read(0, 1, 4, middle);
  EXPECT_THAT(middle, ElementsAre(10, 5, 6));
}

TEST_F(Shards, EndOfDocumentIdsAreToldFromText) {
  const TokenShards shards = make_shards(prefix(), {{1, 2, 256}, {3}, {256}, {4, 256, 5, 256}});
  EXPECT_EQ(shards.num_tokens(), 9);
  EXPECT_EQ(shards.num_text_bytes(), 5);
  EXPECT_EQ(shards.text_tokens(0), 2);
  EXPECT_EQ(shards.text_tokens(1), 1);
  EXPECT_EQ(shards.text_tokens(2), 0);
  EXPECT_EQ(shards.text_tokens(3), 3);
}

TEST_F(Shards, ModesAreReadWhereAllAreText) {
  put_pair(kBin, IdxParts{.modes = std::string(2, '\0')}.bytes());
  EXPECT_TRUE(TokenShards::open(prefix(), 257).ok());
  EXPECT_THAT(complaint(IdxParts{.modes = std::string("\0\1", 2)}),
              HasSubstr("pair.idx: mode of sequence 1: is 1, must be 0"));
}

TEST_F(Shards, WrongFieldsAreNamedWithValueAndWhatIsAllowed) {
  EXPECT_THAT(complaint(IdxParts{.magic = "MMIDIDX\0\1"}), HasSubstr("pair.idx: magic:"));
  EXPECT_THAT(complaint(IdxParts{.version = 2}), HasSubstr("pair.idx: version: is 2, must be 1"));
  EXPECT_THAT(complaint(IdxParts{.lengths = {3, -2}}),
              HasSubstr("pair.idx: length of sequence 1: is -2, must be at least 0"));
  EXPECT_THAT(complaint(IdxParts{.lengths = {3, 3}}),
              HasSubstr("sequence 1: 6 bytes at offset 6 are not inside the .bin file of 10"));
  EXPECT_THAT(complaint(IdxParts{.offsets = {-2, 6}}), HasSubstr("sequence 0: 6 bytes at offset"));
  EXPECT_THAT(complaint(IdxParts{.offsets = {0, std::numeric_limits<int64_t>::max()}}),
              HasSubstr("sequence 1: 4 bytes at offset 9223372036854775807 are not inside"));
  EXPECT_THAT(complaint(IdxParts{.lengths = {3, 3}, .offsets = {0, 4}}),
              HasSubstr("sequences 0 to 1 need 12 bytes, but the .bin file has 10"));
  EXPECT_THAT(complaint(IdxParts{.documents = {1, 1, 2}}),
              HasSubstr("document index 0: is 1, must be 0"));
  EXPECT_THAT(complaint(IdxParts{.documents = {0, 2, 1}}),
              HasSubstr("document index 2: is 1, must be from 2 (the entry before) to 2"));
  EXPECT_THAT(complaint(IdxParts{.documents = {0, 3, 2}}),
              HasSubstr("document index 1: is 3, must be from 0"));
  EXPECT_THAT(complaint(IdxParts{.documents = {0, 1}}),
              HasSubstr("document index 1: is 1, the last must be 2"));
  EXPECT_THAT(complaint(IdxParts{.documents = {}}),
              HasSubstr("entries of the document index: are 0, must be from 1"));
  EXPECT_THAT(complaint(IdxParts{.modes = std::string(3, '\0')}), HasSubstr("pair.idx: size:"));
}

TEST_F(Shards, CountsThatOverflowAreRefusedBeforeAnyUse) {
  for (const uint64_t count : {uint64_t{3}, uint64_t{1} << 31, uint64_t{1} << 61,
                               uint64_t{0x1555555555555556}, ~uint64_t{0}}) {
    std::string sequences = kIdx;
    sequences.replace(18, 8, raw(count));
    EXPECT_NE(complaint(kBin, sequences), "opened") << count;
    std::string entries = kIdx;
    entries.replace(26, 8, raw(count + 1));
    EXPECT_THAT(complaint(kBin, entries),
                testing::AnyOf(HasSubstr("entries of the document index"), HasSubstr("size:")))
        << count;
  }
}

TEST_F(Shards, AnIdBeyondTheVocabularyNamesDocumentAndPosition) {
  EXPECT_THAT(complaint(kBin, kIdx, 10),
              HasSubstr("pair.bin: document 1, position 1: token id is 10, must be from 0 to 9"));
  EXPECT_THAT(complaint(kBin, kIdx, 5), HasSubstr("document 0, position 0: token id is 5"));
  const IdxParts negative{.dtype_code = 3};
  EXPECT_THAT(complaint(raw<int16_t>(-1) + kBin.substr(2), negative.bytes()),
              HasSubstr("document 0, position 0: token id is -1"));
  std::vector<int32_t> tokens(100'000, 3);
  tokens[77'777] = 300;
  make_shards(prefix(), {{1}, tokens}, 400);
  EXPECT_THAT(std::string(TokenShards::open(prefix(), 257).status().message()),
              HasSubstr("document 1, position 77777: token id is 300, must be from 0 to 256"));
}

TEST_F(Shards, EveryTruncationIsRefused) {
  for (size_t size = 0; size < kIdx.size(); ++size) {
    EXPECT_NE(complaint(kBin, kIdx.substr(0, size)), "opened") << size;
  }
  for (size_t size = 0; size < kBin.size(); ++size) {
    EXPECT_NE(complaint(kBin.substr(0, size), kIdx), "opened") << size;
  }
}

TEST_F(Shards, MissingFilesAreNamed) {
  const auto neither = TokenShards::open(prefix(), 257);
  EXPECT_THAT(std::string(neither.status().message()), HasSubstr("pair.idx"));
  put_file(folder_.path() / "pair.idx", kIdx);
  const auto no_bin = TokenShards::open(prefix(), 257);
  EXPECT_THAT(std::string(no_bin.status().message()), HasSubstr("pair.bin"));
}

TEST_F(Shards, RewritingAPairReplacesItAndAbandoningKeepsIt) {
  make_shards(prefix(), {{1, 2}});
  {
    auto writer = TokenShardsWriter::create(prefix(), 257);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->add_document(std::vector<int32_t>{3}).ok());
  }
  EXPECT_THAT(read_document(*TokenShards::open(prefix(), 257), 0), ElementsAre(1, 2));
  make_shards(prefix(), {{3}});
  EXPECT_THAT(read_document(*TokenShards::open(prefix(), 257), 0), ElementsAre(3));
}

}  // namespace
}  // namespace weft
