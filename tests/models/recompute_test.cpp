#include "models/recompute.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tanh.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "models/kernels/kept_results.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

// x, a weight, a bias.
struct Row {
  Tensor x = fill({11, 4}, 0.2).set_requires_grad(true);
  Tensor weight = fill({6, 4}, 1.1).set_requires_grad(true);
  Tensor bias = fill({6}, 2.5).set_requires_grad(true);
};

// What f makes on the way is gone after the forward pass, and again after the backward pass.
TEST(Recomputed, KeepsNothingBetweenThePasses) {
  const Row row;
  std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>> made;
  std::vector<Values> values;
  const auto part = [&](const Tensor& x, Values wanted) {
    const Tensor inner = at::tanh(x);
    made.emplace_back(inner.getIntrusivePtr());
    values.push_back(wanted);
    return std::vector<Tensor>{at::linear(inner, row.weight).exp(), inner.sum()};
  };
  const std::vector<Tensor> outputs = recomputed(row.x, part);
  ASSERT_EQ(made.size(), 1u);
  EXPECT_TRUE(made[0].expired());
  (outputs[0].sum() + outputs[1] * 3).backward();
  ASSERT_EQ(made.size(), 2u);
  EXPECT_TRUE(made[1].expired());
  EXPECT_EQ(values, (std::vector<Values>{Values::kWanted, Values::kUnused}));
  const Row other;
  const Tensor inner = at::tanh(other.x);
  (at::linear(inner, other.weight).exp().sum() + inner.sum() * 3).backward();
  EXPECT_TRUE(row.x.grad().equal(other.x.grad()));
  EXPECT_TRUE(row.weight.grad().equal(other.weight.grad()));
}

// Their gradients are those of the numbers that the first run drew, whatever else drew some since;
// and nothing else sees that they were drawn again.
TEST(Recomputed, DrawsTheSameRandomNumbers) {
  const auto drawing = [](const Tensor& x) {
    return x.square() * at::rand(x.sizes(), x.options());
  };
  const auto part = [&](const Tensor& x, Values) { return std::vector<Tensor>{drawing(x)}; };
  const auto rows = [&](const Tensor& x, int64_t, Values) { return drawing(x); };
  const auto sliced_part = [&](const Tensor& x, Values values) {
    return std::vector<Tensor>{in_slices(drawing(x), 4, rows, values)};
  };
  const auto gradients = [](const auto& f) {
    at::manual_seed(5);
    const Tensor x = fill({11, 4}, 0.2).set_requires_grad(true);
    const Tensor y = f(f(x));
    const Tensor between = at::rand({3});
    y.sum().backward();
    return std::vector<Tensor>{y.detach(), x.grad(), between, at::rand({3})};
  };
  const auto expect_same = [](const std::vector<Tensor>& ours, const std::vector<Tensor>& plain) {
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_LE(max_difference(ours[i], plain[i]), 1e-13);
  };
  const auto plain_slices = [&](const Tensor& x) {
    return at::cat(
        {drawing(x.narrow(0, 0, 4)), drawing(x.narrow(0, 4, 4)), drawing(x.narrow(0, 8, 3))});
  };
  expect_same(gradients([&](const Tensor& x) { return recomputed(x, part)[0]; }),
              gradients(drawing));
  expect_same(gradients([&](const Tensor& x) { return in_slices(x, 4, rows); }),
              gradients(plain_slices));
  expect_same(gradients([&](const Tensor& x) { return recomputed(x, sliced_part)[0]; }),
              gradients([&](const Tensor& x) { return plain_slices(drawing(x)); }));
}

// Inputs that wait in the host's memory come back to the second runs, bit for bit.
TEST(Recomputed, TakesItsInputFromTheStash) {
  const auto part = [](const Tensor& x, Values) {
    return std::vector<Tensor>{at::tanh(x).square()};
  };
  const Row row, other;
  const auto stash = std::make_shared<HostStash>();
  Tensor stashed = row.x, kept = other.x;
  c10::weak_intrusive_ptr<c10::TensorImpl> between(row.x.getIntrusivePtr());
  for (int layer = 0; layer < 3; ++layer) {
    stashed = recomputed(stashed, part, Keep::kNothing, stash)[0];
    kept = recomputed(kept, part)[0];
    if (layer == 0) between = c10::weak_intrusive_ptr<c10::TensorImpl>(stashed.getIntrusivePtr());
  }
  EXPECT_TRUE(between.expired());  // the second layer's input
  EXPECT_TRUE(stashed.equal(kept));
  stashed.sum().backward();
  kept.sum().backward();
  EXPECT_TRUE(row.x.grad().equal(other.x.grad()));
}

// How often operators of these names are called while this object lives.
class Calls {
 public:
  Calls()
      : handle_(at::addThreadLocalCallback(
            at::RecordFunctionCallback(count).scopes({at::RecordScope::FUNCTION}))) {
    counts().clear();
  }
  ~Calls() { at::removeCallback(handle_); }
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;
  int of(const std::string& name) const { return counts()[name]; }

 private:
  static std::map<std::string, int>& counts() {
    thread_local std::map<std::string, int> counts;
    return counts;
  }
  static std::unique_ptr<at::ObserverContext> count(const at::RecordFunction& call) {
    ++counts()[call.name()];
    return nullptr;
  }
  at::CallbackHandle handle_;
};

// Products are computed once and the rest twice; their results are gone after the backward pass.
TEST(Recomputed, KeepsProductsWhereAsked) {
  const Row whole, ours;
  const Tensor back = fill({4, 6}, 0.4), upstream = fill({11, 4}, 0.9);
  std::optional<c10::weak_intrusive_ptr<c10::StorageImpl>> first_product;
  const auto part = [&](const Row& row) {
    return [&](const Tensor& x, Values) {
      const Tensor inner = linear_product(at::tanh(x), row.weight, row.bias);
      if (!first_product) first_product = inner.storage().getWeakStorageImpl();
      const Tensor y = linear_product(inner.exp(), back);
      forget_last_result();
      return std::vector<Tensor>{y};
    };
  };
  const Tensor expected = part(whole)(whole.x, Values::kWanted)[0];
  (expected * upstream).sum().backward();
  first_product.reset();
  const Calls calls;
  const Tensor y = recomputed(ours.x, part(ours), Keep::kProducts)[0];
  EXPECT_TRUE(y.equal(expected));
  EXPECT_FALSE(first_product->expired());
  EXPECT_EQ(calls.of("aten::linear"), 2);
  (y * upstream).sum().backward();
  EXPECT_EQ(calls.of("aten::linear"), 2);
  EXPECT_EQ(calls.of("aten::exp"), 2);
  EXPECT_TRUE(first_product->expired());
  EXPECT_LE(max_difference(ours.x.grad(), whole.x.grad()), 1e-14);
  EXPECT_LE(max_difference(ours.weight.grad(), whole.weight.grad()), 1e-14);
  EXPECT_LE(max_difference(ours.bias.grad(), whole.bias.grad()), 1e-14);
}

TEST(RecomputedDeathTest, HasNoSecondDerivatives) {
  const Row row;
  const auto part = [](const Tensor& x, Values) { return std::vector<Tensor>{at::tanh(x)}; };
  const Tensor y = recomputed(row.x, part)[0].sum();
  EXPECT_DEATH(torch::autograd::grad({y}, {row.x}, {}, true, /*create_graph=*/true),
               "no second derivatives");
  EXPECT_DEATH(recomputed(row.x.detach(), part), "without gradients");
}

}  // namespace
}  // namespace weft
