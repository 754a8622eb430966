#include "base/profile.h"

#include <fstream>
#include <sstream>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "base/tensor.h"
#include "tests/support/process.h"

namespace weft {
namespace {

const WorkSum& of(const std::vector<WorkSum>& sums, WorkKind kind) {
  return sums[static_cast<size_t>(kind)];
}

Tensor ones(int64_t rows, int64_t columns) { return at::full({rows, columns}, 1.0F); }

TEST(Profile, CountsTheWorkOfOperators) {
  const Tensor a = ones(3, 5), b = ones(5, 7), c = ones(3, 7);
  Profile profile;
  profile.start();
  at::mm(a, b);
  const Tensor sum = c + c;
  profile.stop();
  at::mm(a, b);  // not seen
  const std::vector<WorkSum> sums = profile.sums();
  ASSERT_EQ(sums.size(), static_cast<size_t>(kWorkKinds));
  const WorkSum& products = of(sums, WorkKind::kProduct);
  EXPECT_EQ(products.calls, 1);
  EXPECT_EQ(products.work.flops, 2 * 3 * 5 * 7);
  EXPECT_EQ(products.work.bytes, 4 * (3 * 5 + 5 * 7 + 3 * 7));
  EXPECT_GT(products.seconds, 0);
  EXPECT_EQ(of(sums, WorkKind::kElementwise).work.bytes, 4 * 3 * (3 * 7));
  EXPECT_EQ(of(sums, WorkKind::kNorm).calls, 0);
}

TEST(Profile, GivesEachKindItsOwnTime) {
  const Tensor a = ones(200, 200);
  Profile profile;
  profile.start();
  {
    const ProfileSpan outer("outer", WorkKind::kScan, {.flops = 10, .bytes = 20});
    for (int i = 0; i < 20; ++i) at::mm(a, a);
  }
  profile.stop();
  const std::vector<WorkSum> sums = profile.sums();
  double seconds = 0;
  for (const WorkSum& sum : sums) {
    EXPECT_GE(sum.seconds, 0) << name_of(sum.kind);
    seconds += sum.seconds;
  }
  EXPECT_LE(seconds, profile.seconds());
  const WorkSum& scan = of(sums, WorkKind::kScan);
  EXPECT_EQ(scan.calls, 1);
  EXPECT_EQ(scan.work.flops, 10);  // all of it, though it calls others
  EXPECT_EQ(scan.work.bytes, 20);
  EXPECT_EQ(of(sums, WorkKind::kProduct).calls, 20);
}

// The work of an operator that calls others is theirs.
TEST(Profile, CountsNothingTwice) {
  const Tensor a = ones(30, 40).set_requires_grad(true), b = ones(40, 50);
  Profile profile;
  profile.start();
  at::mm(a, b).sum().backward();
  profile.stop();
  const std::vector<WorkSum> sums = profile.sums();
  EXPECT_EQ(of(sums, WorkKind::kProduct).work.flops, 2 * 2 * 30 * 40 * 50);  // and a's gradient
  EXPECT_GT(of(sums, WorkKind::kAutograd).calls, 0);
  EXPECT_EQ(of(sums, WorkKind::kAutograd).work.bytes, 0);
}

TEST(Profile, WritesATrace) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "profile.json";
  Profile profile;
  profile.start();
  at::mm(ones(2, 3), ones(3, 4));
  { const ProfileSpan span("a \"quoted\" name", WorkKind::kNorm, {.bytes = 5}); }
  profile.stop();
  ASSERT_TRUE(profile.write_chrome_trace(file).ok());
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  const auto trace = parse_json(text.str(), {.depth = 5, .values = 1000});
  ASSERT_TRUE(trace.ok()) << trace.status();
  const Json* events = find_array(*trace, "traceEvents");
  ASSERT_NE(events, nullptr);
  int products = 0, spans = 0;
  for (const Json& event : *events) {
    EXPECT_EQ(event["ph"], "X");
    EXPECT_GE(event["dur"].get<double>(), 0);
    products += event["name"] == "aten::mm" && event["args"]["flops"] == 2 * 2 * 3 * 4 ? 1 : 0;
    spans += event["name"] == "a \"quoted\" name" && event["cat"] == "norms" ? 1 : 0;
  }
  EXPECT_EQ(products, 1);
  EXPECT_EQ(spans, 1);
  EXPECT_FALSE(profile.write_chrome_trace(folder.path() / "none" / "profile.json").ok());
}

TEST(Profile, GoesOnWhereItStopped) {
  const Tensor a = ones(30, 40), b = ones(40, 50);
  Profile profile;
  for (int i = 0; i < 3; ++i) {
    profile.start();
    at::mm(a, b);
    profile.stop();
    const double seconds = profile.seconds();
    at::mm(a, b);  // not seen
    EXPECT_EQ(profile.seconds(), seconds);
  }
  EXPECT_EQ(of(profile.sums(), WorkKind::kProduct).calls, 3);
}

TEST(Profile, SeesNoSpanFromBefore) {
  { const ProfileSpan span("unseen", WorkKind::kNorm, {.bytes = 5}); }
  Profile profile;
  profile.start();
  profile.stop();
  EXPECT_EQ(of(profile.sums(), WorkKind::kNorm).calls, 0);
}

TEST(ProfileDeathTest, IsOneAtATime) {
  Profile profile, other;
  profile.start();
  EXPECT_DEATH(other.start(), "a profile is being taken");
}

}  // namespace
}  // namespace weft
