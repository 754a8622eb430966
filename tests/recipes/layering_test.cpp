#include "recipes/layering.h"

#include <gtest/gtest.h>

#include "tests/support/process.h"

namespace weft {
namespace {

// The tree on one line: maps in braces, lists in brackets.
std::string flow(const YamlNode& node) {
  std::string text;
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "~";
    case YamlNode::Kind::kScalar:
      return node.text;
    case YamlNode::Kind::kList:
      for (const YamlNode& item : node.items)
        text.append(text.empty() ? "" : ", ").append(flow(item));
      return std::string("[").append(text).append("]");
    case YamlNode::Kind::kMap:
      break;
  }
  for (const YamlEntry& entry : node.entries) {
    text.append(text.empty() ? "" : ", ").append(entry.key).append(": ").append(flow(entry.value));
  }
  return std::string("{").append(text).append("}");
}

std::string layered(const std::string& base, const std::string& over) {
  const TemporaryFolder folder;
  write_text(folder.path() / "sub" / "base.yaml", base);
  write_text(folder.path() / "r.yaml", "extends: sub/base.yaml\n" + over);
  Complaints complaints;
  const YamlNode root = read_layers(folder.path() / "r.yaml", complaints);
  EXPECT_FALSE(complaints.has_errors());
  return flow(root);
}

std::string with_set(const std::string& text, const std::string& set) {
  Complaints complaints;
  YamlNode root = parse_yaml(text, "r.yaml", Lines::kYes, complaints);
  apply_set(set, root, complaints);
  EXPECT_FALSE(complaints.has_errors());
  return flow(root);
}

TEST(ReadLayers, MapsMergeListsAndValuesReplace) {
  EXPECT_EQ(layered("{a: 1, b: {c: 2, d: [3, 4]}}", "b: {d: [5], e: 6}\nf: 7"),
            "{a: 1, b: {c: 2, d: [5], e: 6}, f: 7}");
}

TEST(ReadLayers, AKeyWithoutValueRemovesTheOneBeneath) {
  EXPECT_EQ(layered("{a: 1, b: {c: 2, d: 3}}", "b: {c: }"), "{a: 1, b: {d: 3}}");
}

TEST(ReadLayers, AMapReplacesAValueAndTheOtherWayRound) {
  EXPECT_EQ(layered("{a: 1, b: {c: 2}}", "a: {x: 1}\nb: 3"), "{a: {x: 1}, b: 3}");
}

TEST(ReadLayers, KeysKeepThePlaceTheyWereWrittenAt) {
  const TemporaryFolder folder;
  write_text(folder.path() / "base.yaml", "a: {b: 1, c: 2}\n");
  write_text(folder.path() / "r.yaml", "extends: base.yaml\na: {c: 3}\n");
  Complaints complaints;
  const YamlNode root = read_layers(folder.path() / "r.yaml", complaints);
  const YamlNode& a = root.find("a")->value;
  EXPECT_EQ(a.find("b")->value.place.text(), (folder.path() / "base.yaml").string() + ":1:8");
  EXPECT_EQ(a.find("c")->value.place.text(), (folder.path() / "r.yaml").string() + ":2:8");
}

TEST(ApplySet, ChangesAddsAndRemoves) {
  EXPECT_EQ(with_set("{a: 1, b: [{c: 2}, 3]}", "b.0.c=5"), "{a: 1, b: [{c: 5}, 3]}");
  EXPECT_EQ(with_set("{a: 1, b: [{c: 2}, 3]}", "b.1=[4, 5]"), "{a: 1, b: [{c: 2}, [4, 5]]}");
  EXPECT_EQ(with_set("{a: 1}", "x.y.z={k: v}"), "{a: 1, x: {y: {z: {k: v}}}}");
  EXPECT_EQ(with_set("{a: 1, b: 2}", "a="), "{b: 2}");
  EXPECT_EQ(with_set("{a: {b: 1}}", "a={c: 2}"), "{a: {b: 1, c: 2}}");
  EXPECT_EQ(with_set("{a: 1}", "a=b=c"), "{a: b=c}");
}

TEST(ParseYaml, AliasesRepeatValues) {
  Complaints complaints;
  EXPECT_EQ(flow(parse_yaml("a: &x {b: 1}\nc: *x\n", "r.yaml", Lines::kYes, complaints)),
            "{a: {b: 1}, c: {b: 1}}");
  EXPECT_FALSE(complaints.has_errors());
}

TEST(ParseYaml, QuotesThatCloseAreTaken) {
  Complaints complaints;
  const std::string text = R"(a: "x \" y"
b: 'it''s'
c: &n "z"
)";
  EXPECT_EQ(flow(parse_yaml(text, "r.yaml", Lines::kYes, complaints)),
            "{a: x \" y, b: it's, c: z}");
  EXPECT_FALSE(complaints.has_errors());
}

TEST(ParseYaml, QuotesThatNeverCloseAreRefused) {
  for (const char* text : {"a: 'it''s\n", "a: \"x \\\"\n", "a: &n \"z\n"}) {
    Complaints complaints;
    parse_yaml(text, "r.yaml", Lines::kYes, complaints);
    EXPECT_TRUE(complaints.has_errors()) << text;
  }
}

}  // namespace
}  // namespace weft
