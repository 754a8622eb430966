#include "base/json.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

constexpr JsonLimits kLimits = {.depth = 3, .values = 8};

std::string problem_of(std::string_view text, JsonLimits limits = kLimits) {
  return std::string(parse_json(text, limits).status().message());
}

TEST(ParseJson, ReadsWhatItIsGiven) {
  const Json json =
      *parse_json(R"( {"a": [1, -2, 0.1, true, null], "\u00e9\ud83d\ude00": {"b": "x\"\n"}} )",
                  {.depth = 2, .values = 9});
  EXPECT_EQ(json["a"], Json({1, -2, 0.1, true, nullptr}));
  EXPECT_EQ(json["é😀"]["b"], "x\"\n");
  EXPECT_EQ(*parse_json("7", {.depth = 0, .values = 1}), 7);
  EXPECT_EQ(*parse_json("[[], {}, []]", kLimits),
            Json({Json::array(), Json::object(), Json::array()}));
}

TEST(ParseJson, RefusesAKeyTwiceAtAnyLevel) {
  EXPECT_EQ(problem_of(R"({"a": 1, "a": 1})"), "has 'a' twice");
  EXPECT_EQ(problem_of(R"({"x": [{"b": 1, "\u0062": 2}]})"), "has 'b' twice");
  EXPECT_EQ(problem_of(R"({"x": {"a": 1}, "y": {"a": 1}})"), "");
}

TEST(ParseJson, RefusesWhatIsNoJson) {
  EXPECT_EQ(problem_of(""), "is not JSON (byte 1)");
  EXPECT_EQ(problem_of("[1] 2"), "is not JSON (byte 5)");
  EXPECT_EQ(problem_of(std::string("[1]\0", 4)), "is not JSON (byte 4)");
  for (const char* text :
       {"{", "[1,]", "{\"a\"}", "nul", "01", "1e999", "\"\xff\"", "'a'", "[1}"}) {
    EXPECT_NE(problem_of(text), "") << text;
  }
}

TEST(ParseJson, StopsAtTheLimits) {
  EXPECT_EQ(problem_of("[[[]]]"), "");
  EXPECT_EQ(problem_of("[[[[]]]]"), "is nested more than 3 deep");
  EXPECT_EQ(problem_of("[1,2,3,4,5,6,7]"), "");
  EXPECT_EQ(problem_of("[1,2,3,4,5,6,7,8]"), "has more than 8 values");
  EXPECT_EQ(problem_of(R"({"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8})"),
            "has more than 8 values");
  EXPECT_EQ(problem_of(std::string(50'000'000, '[')), "is nested more than 3 deep");
}

TEST(ParseJson, KeepsIntegersExactAndToldApart) {
  const Json json = *parse_json(
      R"({"max": 9223372036854775807, "over": 9223372036854775808, "minus": -1, "real": 1.0})",
      kLimits);
  EXPECT_EQ(find_count(json, "max"), INT64_MAX);
  for (const char* name : {"over", "minus", "real", "absent"}) {
    EXPECT_EQ(find_count(json, name), std::nullopt) << name;
  }
}

TEST(FindMember, IsNullForAnotherTypeOrParent) {
  const Json json = *parse_json(R"({"o": {}, "a": [], "s": "t"})", kLimits);
  EXPECT_NE(find_object(json, "o"), nullptr);
  EXPECT_NE(find_array(json, "a"), nullptr);
  ASSERT_NE(find_string(json, "s"), nullptr);
  EXPECT_EQ(*find_string(json, "s"), "t");
  EXPECT_EQ(find_object(json, "a"), nullptr);
  EXPECT_EQ(find_array(json, "s"), nullptr);
  EXPECT_EQ(find_string(json, "o"), nullptr);
  EXPECT_EQ(find_string(Json::array(), "s"), nullptr);
}

}  // namespace
}  // namespace weft
