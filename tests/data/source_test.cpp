#include <csignal>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <sys/resource.h>

#include "data/shards.h"
#include "tests/data/corpus.h"

namespace weft {
namespace {

using test::get_file;
using test::put_file;
using test::read_document;
using testing::ElementsAre;
using testing::HasSubstr;

class Source : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& text) {
    put_file(folder_.path() / "text" / name, text);
  }
  // Opens the folder of texts; `tokenized_` says whether it was tokenized for that.
  absl::StatusOr<TokenShards> open() { return open(text()); }
  absl::StatusOr<TokenShards> open(const fs::path& path, int64_t vocab_size = 257) {
    tokenized_ = false;
    return open_source(path, Tokenizer({}), vocab_size, cache(),
                       [&](const std::string& source, int64_t done, int64_t total) {
                         EXPECT_EQ(source, path.string());
                         EXPECT_LE(done, total);
                         tokenized_ = true;
                         last_done_ = done;
                       });
  }
  std::string complaint(const fs::path& path) {
    const auto shards = open(path);
    return shards.ok() ? "opened" : std::string(shards.status().message());
  }
  fs::path text() const { return folder_.path() / "text"; }
  fs::path cache() const { return folder_.path() / "cache" / "tokens"; }
  std::vector<fs::path> cached(const std::string& ending) const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(cache())) {
      if (entry.path().extension() == ending) found.push_back(entry.path());
    }
    return found;
  }

  test::TemporaryFolder folder_;
  bool tokenized_ = false;
  int64_t last_done_ = 0;
};

std::vector<int64_t> ids(const std::string& text) {
  std::vector<int64_t> tokens;
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  tokens.push_back(256);
  return tokens;
}

TEST_F(Source, AFolderIsItsTextsSortedByName) {
  put("b.txt", "second");
  put("a/z.txt", "first");
  put("c.txt", std::string("\xff\0!", 3));
  put("empty.txt", "");
  put("notes.md", "not a text");
  const auto shards = open();
  ASSERT_TRUE(shards.ok()) << shards.status();
  ASSERT_EQ(shards->num_documents(), 3);
  EXPECT_EQ(read_document(*shards, 0), ids("first"));
  EXPECT_EQ(read_document(*shards, 1), ids("second"));
  EXPECT_EQ(read_document(*shards, 2), ids(std::string("\xff\0!", 3)));
  EXPECT_EQ(shards->num_text_bytes(), 14);
  EXPECT_EQ(last_done_, 14);
}

TEST_F(Source, ALargeFileIsOneDocumentAndReportsProgress) {
  std::string large;
  for (int i = 0; i < 300'000; ++i) large += std::to_string(i) + "\n";
  put("large.txt", large);
  const auto shards = open(text() / "large.txt");
  ASSERT_TRUE(shards.ok()) << shards.status();
  EXPECT_EQ(shards->num_documents(), 1);
  EXPECT_EQ(read_document(*shards, 0), ids(large));
  EXPECT_EQ(last_done_, static_cast<int64_t>(large.size()));
}

TEST_F(Source, TokensAreReusedUntilAnyTextOrNameChanges) {
  put("a.txt", "alpha");
  put("b.txt", "beta");
  ASSERT_TRUE(open().ok());
  EXPECT_TRUE(tokenized_);
  ASSERT_TRUE(open().ok());
  EXPECT_FALSE(tokenized_);

  put("b.txt", "BETA");
  EXPECT_EQ(read_document(*open(), 1), ids("BETA"));
  EXPECT_TRUE(tokenized_);
  fs::rename(text() / "b.txt", text() / "0.txt");
  EXPECT_EQ(read_document(*open(), 0), ids("BETA"));
  EXPECT_TRUE(tokenized_);
  put("c.txt", "gamma");
  EXPECT_EQ(open()->num_documents(), 3);
  EXPECT_EQ(cached(".idx").size(), 4u);

  put("b.txt", "beta");
  fs::remove(text() / "0.txt");
  fs::remove(text() / "c.txt");
  EXPECT_EQ(read_document(*open(), 1), ids("beta"));
  EXPECT_FALSE(tokenized_);
}

TEST_F(Source, DamagedTokensAreMadeAgain) {
  put("a.txt", "alpha");
  put("b.txt", "beta");
  ASSERT_TRUE(open().ok());
  for (const std::string ending : {".bin", ".idx", ".sum"}) {
    const fs::path path = cached(ending).at(0);
    const std::string whole = get_file(path);
    std::vector<std::string> damaged{"", whole + "x", whole.substr(0, whole.size() - 1)};
    for (size_t i = 0; i < whole.size(); i += 1 + whole.size() / 5) {
      damaged.push_back(whole);
      damaged.back()[i] = static_cast<char>(damaged.back()[i] ^ 1);
    }
    for (const std::string& content : damaged) {
      put_file(path, content);
      const auto shards = open();
      ASSERT_TRUE(shards.ok()) << shards.status();
      ASSERT_TRUE(tokenized_) << ending;
      ASSERT_EQ(read_document(*shards, 0), ids("alpha"));
      ASSERT_EQ(get_file(path), whole);
    }
    fs::remove(path);
    ASSERT_TRUE(open().ok());
    EXPECT_EQ(get_file(path), whole);
  }
  ASSERT_TRUE(open().ok());
  EXPECT_FALSE(tokenized_);
}

TEST_F(Source, SeveralThatAskAtOnceGetTheSameTokens) {
  put("a.txt", std::string(3'000'000, 'a'));
  std::vector<std::thread> threads;
  std::vector<int64_t> tokens(4, 0);
  for (int64_t& found : tokens) {
    threads.emplace_back([&] {
      const auto shards = open_source(text(), Tokenizer({}), 257, cache(), {});
      if (shards.ok()) found = shards->num_tokens();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(tokens, testing::Each(3'000'001));
}

TEST_F(Source, AnotherProcessAtWorkIsNotWaitedFor) {
  put("a.txt", "alpha");
  ASSERT_TRUE(open().ok());
  const fs::path sums = cached(".sum").at(0);
  const fs::path slot = fs::path(sums).replace_extension(".0.lock");
  ASSERT_TRUE(fs::exists(slot));
  const auto other = FileLock::take(slot);
  ASSERT_TRUE(other.ok());
  fs::remove(sums);
  EXPECT_EQ(read_document(*open(), 0), ids("alpha"));
  EXPECT_TRUE(tokenized_);
  EXPECT_TRUE(fs::exists(fs::path(sums).replace_extension(".1.lock")));
}

TEST_F(Source, IdsComeFromPairsAlone) {
  const Tokenizer ids({.kind = TokenizerKind::kIds, .end_id = 2});
  put("a.txt", "alpha");
  EXPECT_EQ(open_source(text(), ids, 31, cache(), {}).status().message(),
            internal::join_parts("'", text().string(),
                                 "' is text, and the tokenizer takes token ids alone"));
  const fs::path pair = folder_.path() / "pair";
  test::make_shards(pair, {{5, 2, 30, 2}, {7}}, 31);
  const auto shards = open_source(pair, ids, 31, cache(), {});
  ASSERT_TRUE(shards.ok()) << shards.status();
  EXPECT_EQ(shards->end_of_document(), 2);
  EXPECT_EQ(shards->text_tokens(0), 3);  // its last token ends it
  EXPECT_EQ(shards->text_tokens(1), 1);
  EXPECT_THAT(std::string(open_source(pair, ids, 30, cache(), {}).status().message()),
              HasSubstr("document 0, position 2: token id is 30, must be from 0 to 29"));
}

TEST_F(Source, NoTextIsAnError) {
  put("a.txt", "");
  put("b.txt", "");
  EXPECT_THAT(complaint(text()), HasSubstr("text' has no text: 0 bytes in 2 .txt file(s)"));
  EXPECT_THAT(complaint(text() / "a.txt"), HasSubstr("has no text"));
  test::make_shards(folder_.path() / "pair", {{256}, {256}});
  EXPECT_THAT(complaint(folder_.path() / "pair"), HasSubstr("pair' has no text"));
}

TEST_F(Source, ACacheThatCannotBeWrittenIsNamed) {
  put("a.txt", "alpha");
  put_file(folder_.path() / "cache", "a file where the folder should be");
  EXPECT_THAT(complaint(text()), testing::AllOf(HasSubstr("cache/tokens'"), HasSubstr("text'")));
}

// A limit on the size of files stands for a full disk: the write fails half-way.
TEST_F(Source, AWriteThatFailsIsNamedAndNothingHalfMadeIsUsed) {
  put("a.txt", std::string(5000, 'a'));
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 1000, before.rlim_max };
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto failed = open();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(exit_status(failed.status()), 1);
  EXPECT_THAT(std::string(failed.status().message()),
              testing::AllOf(HasSubstr("cannot cache the tokens of"), HasSubstr(".bin")));
  EXPECT_EQ(open()->num_text_bytes(), 5000);
  EXPECT_TRUE(tokenized_);
}

TEST_F(Source, APairIsOpenedAsItIs) {
  test::make_shards(folder_.path() / "pair", {{1, 2, 256}});
  const auto shards = open(folder_.path() / "pair");
  ASSERT_TRUE(shards.ok()) << shards.status();
  EXPECT_THAT(read_document(*shards, 0), ElementsAre(1, 2, 256));
  EXPECT_FALSE(fs::exists(cache()));
  EXPECT_THAT(std::string(open(folder_.path() / "pair", 200).status().message()),
              HasSubstr("document 0, position 2: token id is 256"));
}

TEST_F(Source, TextNeedsTheTokenizersVocabulary) {
  put("a.txt", "alpha");
  EXPECT_THAT(std::string(open(text(), 256).status().message()),
              HasSubstr("need a vocabulary of 257 ids, the model has 256"));
  EXPECT_TRUE(open(text(), 512).ok());
}

TEST_F(Source, WhatIsNoSourceIsSaidWithoutReadingIt) {
  const fs::path root = folder_.path();
  put("a.txt", "alpha");
  put_file(root / "plain", "?");
  put_file(root / "half.bin", "?");
  put_file(root / "other.idx", "?");
  fs::create_directories(root / "nothing" / "here.txt");
  EXPECT_EQ(check_source(text()), "");
  EXPECT_EQ(check_source(text().string() + "/"), "");
  EXPECT_EQ(check_source(text() / "a.txt"), "");
  EXPECT_THAT(check_source(root / "absent"),
              HasSubstr("absent' does not exist; expected a folder"));
  EXPECT_THAT(check_source(root / "absent.txt"), HasSubstr("absent.txt' does not exist"));
  EXPECT_THAT(check_source(root / "plain"),
              HasSubstr("plain' is neither a folder nor a .txt file"));
  EXPECT_THAT(check_source(root / "half"), HasSubstr("but no .idx"));
  EXPECT_THAT(check_source(root / "half.bin"), HasSubstr("write the prefix of the pair"));
  EXPECT_THAT(check_source(root / "other"), HasSubstr("but no .bin"));
  EXPECT_THAT(check_source(root / "nothing"), HasSubstr("is a folder without any .txt file"));
  EXPECT_EQ(complaint(root / "absent"), check_source(root / "absent"));
}

}  // namespace
}  // namespace weft
