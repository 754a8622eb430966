#include "trainer/stop_strings.h"

#include <algorithm>
#include <ostream>

#include <gtest/gtest.h>

namespace weft {
namespace {

struct Shown {
  std::vector<std::string> pieces;  // after each push
  std::string rest;                 // at the end
  bool stopped;

  bool operator==(const Shown&) const = default;
};
void PrintTo(const Shown& shown, std::ostream* out) {
  for (const std::string& piece : shown.pieces) *out << "'" << piece << "' ";
  *out << "then '" << shown.rest << "'" << (shown.stopped ? ", stopped" : "");
}

Shown run(const std::vector<std::string>& strings, const std::vector<std::string>& text) {
  StopStrings stop(strings);
  Shown shown;
  for (const std::string& piece : text) shown.pieces.push_back(stop.push(piece));
  shown.rest = stop.finish();
  shown.stopped = stop.stopped();
  EXPECT_EQ(stop.finish(), "");
  return shown;
}

TEST(StopStrings, WithoutAnyEverythingIsShownAtOnce) {
  EXPECT_EQ(run({}, {"ab", "", "c"}), (Shown{{"ab", "", "c"}, "", false}));
  EXPECT_EQ(run({""}, {"ab", "c"}), (Shown{{"ab", "c"}, "", false}));
}

TEST(StopStrings, TheTextBeforeOneIsShownAndNothingAfter) {
  EXPECT_EQ(run({"END"}, {"one END two", "three"}), (Shown{{"one ", ""}, "", true}));
  EXPECT_EQ(run({"END"}, {"END"}), (Shown{{""}, "", true}));
}

TEST(StopStrings, OneInSeveralPiecesIsHeldBackUntilItIsCertain) {
  EXPECT_EQ(run({"END"}, {"oE", "N", "D!"}), (Shown{{"o", "", ""}, "", true}));
  EXPECT_EQ(run({"END"}, {"oE", "N", "d"}), (Shown{{"o", "", "ENd"}, "", false}));
  EXPECT_EQ(run({"END"}, {"E", "E", "N", "D"}), (Shown{{"", "E", "", ""}, "", true}));
}

TEST(StopStrings, WhatWasHeldBackIsShownWhenNoMoreComes) {
  EXPECT_EQ(run({"END"}, {"one EN"}), (Shown{{"one "}, "EN", false}));
  EXPECT_EQ(run({"\n\n"}, {"a\n", "b\n"}), (Shown{{"a", "\nb"}, "\n", false}));
}

TEST(StopStrings, AnEndThatRepeatsItselfIsFound) {
  EXPECT_EQ(run({"aab"}, {"a", "a", "a", "b"}), (Shown{{"", "", "a", ""}, "", true}));
  EXPECT_EQ(run({"abac"}, {"aba", "bac"}), (Shown{{"", "ab"}, "", true}));
}

TEST(StopStrings, TheFirstOfSeveralInTheTextEndsIt) {
  EXPECT_EQ(run({"two", "one"}, {"a one and two"}), (Shown{{"a "}, "", true}));
  EXPECT_EQ(run({"bc", "abcd"}, {"xab", "c", "d"}), (Shown{{"x", "a", ""}, "", true}));
  EXPECT_EQ(run({"ab", "abc"}, {"xabc"}), (Shown{{"x"}, "", true}));
}

TEST(StopStrings, TheLongestPossibleBeginningIsHeldBack) {
  EXPECT_EQ(run({"b!", "abc"}, {"xab"}), (Shown{{"x"}, "ab", false}));
  EXPECT_EQ(run({"abc", "b!"}, {"xab", "d"}), (Shown{{"x", "abd"}, "", false}));
}

TEST(StopStrings, BytesOfOneCharacterMayComeInPieces) {
  EXPECT_EQ(run({"\xc3\xa9"}, {"caf\xc3", "\xa9s"}), (Shown{{"caf", ""}, "", true}));
  EXPECT_EQ(run({"\xc3\xa9"}, {"caf\xc3", "\xa8s"}), (Shown{{"caf", "\xc3\xa8s"}, "", false}));
}

// However a text is cut, what is shown in all is the same.
TEST(StopStrings, ShowTheSameHoweverTheTextIsCut) {
  const std::string text = "aababcabaabcab";
  for (const std::vector<std::string>& strings :
       {std::vector<std::string>{"abcab"}, {"aabc", "bb"}, {"zz"}, {"cab", "abaa"}}) {
    std::string expected = text;
    for (const std::string& string : strings) {
      expected = expected.substr(0, std::min(expected.size(), text.find(string)));
    }
    for (size_t size = 1; size <= text.size(); ++size) {
      StopStrings stop(strings);
      std::string shown;
      for (size_t begin = 0; begin < text.size(); begin += size) {
        shown += stop.push(text.substr(begin, size));
      }
      shown += stop.finish();
      EXPECT_EQ(shown, expected) << "stop at " << strings[0] << ", pieces of " << size;
      EXPECT_EQ(stop.stopped(), expected.size() < text.size());
    }
  }
}

}  // namespace
}  // namespace weft
