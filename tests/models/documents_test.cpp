#include "models/documents.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(Documents, ArePackedRowByRow) {
  const Tensor ids = at::tensor({0, 0, 1, 1, 1, 7, 7, 7, 7, 2}, at::kInt).view({2, 5});
  const Documents some = Documents::from_ids(ids, at::kCPU);
  EXPECT_TRUE(some.packed.boundaries.equal(at::tensor({0, 2, 5, 9, 10}, at::kInt)));
  EXPECT_EQ(some.packed.longest, 4);
  const Documents rows = Documents::whole_rows(3, 4, at::kCPU);
  EXPECT_TRUE(rows.packed.boundaries.equal(at::tensor({0, 4, 8, 12}, at::kInt)));
  EXPECT_EQ(rows.packed.longest, 4);
}

TEST(Documents, AreNone) {
  const Documents none = Documents::whole_rows(0, 4, at::kCPU);
  EXPECT_TRUE(none.packed.boundaries.equal(at::tensor({0}, at::kInt)));
  EXPECT_EQ(none.packed.longest, 0);
}

}  // namespace
}  // namespace weft
