#include "parallel/parameter_layout.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace weft {
namespace {

ParameterSpec row(std::string name, std::vector<int64_t> shape, std::string joint = "",
                  ComputeType compute = ComputeType::kRecipe,
                  WeightDecay decay = WeightDecay::kYes) {
  return {.name = std::move(name),
          .shape = std::move(shape),
          .sharding = {},
          .init = {},
          .decay = decay,
          .compute = compute,
          .joint = std::move(joint)};
}

ParameterTable table_of(const std::vector<ParameterSpec>& rows) {
  ParameterTable table;
  for (const ParameterSpec& spec : rows) table.add(spec);
  return table;
}

// [bucket, offset] of each row.
std::vector<std::pair<size_t, int64_t>> places(const ParameterLayout& layout) {
  std::vector<std::pair<size_t, int64_t>> all;
  for (const ParameterPlace& place : layout.rows) all.emplace_back(place.bucket, place.offset);
  return all;
}

using Places = std::vector<std::pair<size_t, int64_t>>;

TEST(ParameterLayout, HasABucketForEachKindAndRowsAtMultiples) {
  const ParameterTable table =
      table_of({row("a", {5, 30}), row("scalar", {}), row("norm", {7}, "", ComputeType::kMaster),
                row("full", {128}), row("bias", {3}, "", ComputeType::kRecipe, WeightDecay::kNo)});
  const ParameterLayout layout = lay_out(table, /*one_type=*/false);
  EXPECT_EQ(places(layout), (Places{{0, 0}, {0, 256}, {1, 0}, {0, 384}, {2, 0}}));
  ASSERT_EQ(layout.buckets.size(), 3u);
  EXPECT_EQ(layout.buckets[0].size, 512);
  EXPECT_EQ(layout.buckets[1].size, 128);
  EXPECT_EQ(layout.buckets[1].compute, ComputeType::kMaster);
  EXPECT_EQ(layout.buckets[2].decay, WeightDecay::kNo);
  ASSERT_EQ(layout.buckets[0].gaps.size(), 2u);
  EXPECT_EQ(layout.buckets[0].gaps[0].offset, 150);
  EXPECT_EQ(layout.buckets[0].gaps[0].size, 106);
  EXPECT_EQ(layout.buckets[0].gaps[1].offset, 257);
  EXPECT_EQ(layout.buckets[0].gaps[1].size, 127);
  EXPECT_EQ(lay_out(table, /*one_type=*/true).buckets.size(), 2u);
}

// Wherever they stand in the table, its rows lie one behind the other.
TEST(ParameterLayout, KeepsAJointTogether) {
  const ParameterTable table = table_of({row("q", {3, 10}, "qkv"), row("other", {200}),
                                         row("k", {2, 10}, "qkv"), row("v", {4, 10}, "qkv")});
  const ParameterLayout layout = lay_out(table, /*one_type=*/false);
  EXPECT_EQ(places(layout), (Places{{0, 0}, {0, 128}, {0, 30}, {0, 50}}));
  ASSERT_EQ(layout.joints.size(), 1u);
  EXPECT_EQ(layout.joints[0].first->name, "q");
  EXPECT_EQ(layout.joints[0].rows, 9);
  EXPECT_EQ(layout.joints[0].place.offset, 0);
  EXPECT_EQ(layout.buckets[0].size, 128 + 256);
  EXPECT_EQ(layout.buckets[0].gaps[0].offset, 90);
}

TEST(ParameterLayoutDeathTest, JoinsWhatIsAlikeAlone) {
  const auto join = [](const ParameterSpec& other) {
    lay_out(table_of({row("a", {3, 10}, "all"), other}), /*one_type=*/false);
  };
  EXPECT_DEATH(join(row("b", {3, 9}, "all")), "'b' cannot be joined with 'a'");
  EXPECT_DEATH(join(row("b", {30}, "all")), "'b' cannot be joined with 'a'");
  EXPECT_DEATH(join(row("b", {3, 10}, "all", ComputeType::kMaster)), "cannot be joined with 'a'");
  EXPECT_DEATH(join(row("b", {3, 10}, "all", ComputeType::kRecipe, WeightDecay::kNo)),
               "cannot be joined with 'a'");
  EXPECT_DEATH(join(row("b", {}, "all")), "'b' cannot be joined as 'all'");
  EXPECT_DEATH(join(row("all", {2})), "'a' cannot be joined as 'all'");
  EXPECT_DEATH(lay_out(table_of({row("a", {3}, "all", ComputeType::kBoth)}), /*one_type=*/false),
               "cannot be joined");
}

}  // namespace
}  // namespace weft
