// Feed-forward parts and heads by slices, against all tokens at once, for every family
// (spec/methods.md 1.10).
#include "models/mini_sequences.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tanh.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>

#include "base/check.h"
#include "base/profile.h"
#include "models/kernels/kept_results.h"
#include "models/kernels/matmul.h"
#include "models/memory_config.h"
#include "models/recompute.h"
#include "tests/support/closeness.h"
#include "tests/support/fill.h"
#include "tests/support/process.h"
#include "tests/support/tiny_model.h"

namespace weft {
namespace {

TEST(MiniSequences, AutoFollowsTheRule) {
  const MiniSequences automatic;
  // 100,000 x 4,096 x 2 / (10 x 128,256) = 638.7; 100,000 x 4,096 / (4 x 14,336) = 7,142.9.
  EXPECT_EQ(head_rows(automatic, 100'000, 4096, 128'256, 2), 1024);
  EXPECT_EQ(head_rows(automatic, 300'000, 4096, 128'256, 2), 1920);
  EXPECT_EQ(mlp_rows(automatic, 100'000, 4096, 14'336), 7168);
  EXPECT_EQ(mlp_rows(automatic, 8192, 4096, 14'336), 4096);
  EXPECT_EQ(mlp_rows(automatic, 4096, 512, 1536), 1024);
  EXPECT_EQ(mlp_rows(automatic, 700, 512, 1536), 700);
  EXPECT_EQ(head_rows(automatic, 0, 512, 1000, 2), 1);
}

TEST(MiniSequences, NoneIsAllAndAMapIsTaken) {
  const MiniSequences none(MiniSequenceRule::kNone), fixed(MiniSequenceRows{300, 7});
  EXPECT_EQ(head_rows(none, 100'000, 8, 100, 2), 100'000);
  EXPECT_EQ(mlp_rows(none, 100'000, 8, 100), 100'000);
  EXPECT_EQ(head_rows(fixed, 1000, 8, 100, 2), 7);
  EXPECT_EQ(mlp_rows(fixed, 1000, 8, 100), 300);
  EXPECT_EQ(mlp_rows(fixed, 200, 8, 100), 200);
}

std::vector<int64_t> slices(int64_t count, int64_t rows) {
  std::vector<int64_t> sizes;
  int64_t next = 0;
  for_each_slice(count, rows, [&](int64_t first, int64_t size) {
    EXPECT_EQ(first, next);
    next += size;
    sizes.push_back(size);
  });
  EXPECT_EQ(next, count);
  return sizes;
}

TEST(MiniSequences, SlicesAreEvenAndFew) {
  using Sizes = std::vector<int64_t>;
  EXPECT_EQ(slices(10, 4), (Sizes{4, 3, 3}));
  EXPECT_EQ(slices(10, 10), (Sizes{10}));
  EXPECT_EQ(slices(10, 100), (Sizes{10}));
  EXPECT_EQ(slices(3, 1), (Sizes{1, 1, 1}));
  EXPECT_EQ(slices(0, 5), (Sizes{}));
  EXPECT_EQ(slices(640, 300), (Sizes{256, 192, 192}));  // multiples of 64
  EXPECT_EQ(slices(640, 127), (Sizes{107, 107, 107, 107, 106, 106}));
  EXPECT_EQ(slices(640, 63), (Sizes{59, 59, 58, 58, 58, 58, 58, 58, 58, 58, 58}));
}

// x, a weight, a bias.
struct Row {
  Tensor x = fill({11, 4}, 0.2).set_requires_grad(true);
  Tensor weight = fill({6, 4}, 1.1).set_requires_grad(true);
  Tensor bias = fill({6}, 2.5).set_requires_grad(true);
};

RowFunction layer(const Row& row) {
  return [w = row.weight, b = row.bias](const Tensor& x, int64_t, Values) {
    return at::tanh(at::linear(x, w, b)) * 3;
  };
}

TEST(InSlices, HasTheGradientsOfTheWhole) {
  const Row whole;
  const Tensor upstream = fill({11, 6}, 0.9);
  const Tensor expected = layer(whole)(whole.x, 0, Values::kWanted);
  (expected * upstream).sum().backward();
  for (const int64_t rows : {1, 4, 10, 11, 50}) {
    const Row ours;
    const Tensor y = in_slices(ours.x, rows, layer(ours));
    EXPECT_LE(max_difference(y, expected), 1e-15);
    (y * upstream).sum().backward();
    EXPECT_LE(max_difference(ours.x.grad(), whole.x.grad()), 1e-14);
    EXPECT_LE(max_difference(ours.weight.grad(), whole.weight.grad()), 1e-14);
    EXPECT_LE(max_difference(ours.bias.grad(), whole.bias.grad()), 1e-14);
  }
}

// Each slice is run once forward and once more backward, where nobody looks at its values, and none
// has more rows than asked for.
TEST(InSlices, RunsEverySliceTwice) {
  const Row row;
  std::vector<int64_t> sizes, places;
  int unused = 0;
  const auto counted = [&](const Tensor& x, int64_t first, Values values) {
    sizes.push_back(x.size(0));
    places.push_back(first);
    if (values == Values::kUnused) ++unused;
    return layer(row)(x, first, values);
  };
  const Tensor y = in_slices(row.x, 4, counted);
  EXPECT_EQ(sizes, (std::vector<int64_t>{4, 4, 3}));
  EXPECT_EQ(unused, 0);
  y.sum().backward();
  EXPECT_EQ(sizes, (std::vector<int64_t>{4, 4, 3, 4, 4, 3}));
  EXPECT_EQ(places, (std::vector<int64_t>{0, 4, 8, 0, 4, 8}));
  EXPECT_EQ(unused, 3);
  sizes.clear();
  const at::NoGradGuard no_grad;
  in_slices(row.x, 4, counted);
  EXPECT_EQ(sizes, (std::vector<int64_t>{4, 4, 3}));
}

TEST(InSlicesDeathTest, HasNoSecondDerivatives) {
  const Row row;
  const Tensor y = in_slices(row.x, 4, layer(row)).sum();
  EXPECT_DEATH(torch::autograd::grad({y}, {row.x}, {}, true, /*create_graph=*/true),
               "no second derivatives");
}

TEST(InSlices, LeavesFrozenInputsAlone) {
  Row row;
  row.x.set_requires_grad(false);
  row.weight.set_requires_grad(false);
  in_slices(row.x, 4, layer(row)).sum().backward();
  EXPECT_FALSE(row.x.grad().defined() || row.weight.grad().defined());
  EXPECT_TRUE(row.bias.grad().defined());
  row.bias.set_requires_grad(false);
  in_slices(row.x, 4, layer(row)).sum().backward();
  EXPECT_FALSE(row.weight.grad().defined());
  const auto without_x = [&](const Tensor& x, int64_t, Values) {
    return row.bias.expand({x.size(0), 6}) * 1;
  };
  row.x.set_requires_grad(true);
  in_slices(row.x, 4, without_x).sum().backward();
  EXPECT_EQ(row.x.grad().abs().max().item<double>(), 0);
  const Tensor none = in_slices(row.x.narrow(0, 0, 0), 4, layer(row));
  EXPECT_EQ(none.sizes(), at::IntArrayRef({0, 6}));
}

// Sums over slices are not rounded to bf16 on the way.
TEST(InSlices, SumsGradientsInFp32) {
  const Tensor x = fill({512, 4}, 0.2, 0.1, 1).to(at::kBFloat16);
  Linear linear(fill({3, 4}, 1.1).to(at::kBFloat16).set_requires_grad(true));
  linear.sums.weight = at::zeros({3, 4}, at::kFloat);
  const auto rows = [&](const Tensor& some, int64_t, Values values) {
    return linear(some, values);
  };
  in_slices(x, 1, rows).sum().backward();
  EXPECT_FALSE(linear.weight.grad().defined());
  const Tensor truth = x.to(at::kDouble).sum(0).expand({3, 4});
  EXPECT_LE(max_difference(linear.sums.weight, truth), max_magnitude(truth) * 1e-6);
}

// Two rows of packed documents, a third of the targets ignored, a length that no slice divides.
struct Text {
  Tensor tokens, targets, ids;
};
Text text(int64_t length, int64_t rows = 2) {
  Text t{at::zeros({rows, length}, at::kLong), at::zeros({rows, length}, at::kLong),
         at::zeros({rows, length}, at::kInt)};
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < length; ++i) {
      t.tokens[row][i] = (7 * i + 11 * row) % kTinyVocabulary;
      t.targets[row][i] = (i + row) % 3 == 1 ? -1 : (7 * i + 5 * row + 3) % kTinyVocabulary;
      t.ids[row][i] = i / (5 + row);
    }
  }
  return t;
}

// Nodes of a graph whose names contain `name`.
int count_nodes(const Tensor& end, const std::string& name) {
  std::set<torch::autograd::Node*> seen;
  std::vector<torch::autograd::Node*> next = {end.grad_fn().get()};
  int count = 0;
  while (!next.empty()) {
    torch::autograd::Node* node = next.back();
    next.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    count += node->name().find(name) != std::string::npos ? 1 : 0;
    for (const auto& edge : node->next_edges()) next.push_back(edge.function.get());
  }
  return count;
}

// Two layers with an MLP, two with experts.
TEST(MiniSequences, AreTakenByEveryFeedForwardPart) {
  const TinyModel whole(tiny_recipe(Family::kJamba, 4));
  const Text t = text(19);
  const auto nodes = [&](const MiniSequences& mini_sequences) {
    const CausalLM model(whole->config(), whole.store(), {mini_sequences});
    const Documents documents = Documents::from_ids(t.ids, at::kCPU);
    return count_nodes(model.loss(t.tokens, t.targets, documents).loss, "InSlices");
  };
  EXPECT_EQ(nodes(MiniSequenceRule::kNone), 0);
  EXPECT_EQ(nodes({}), 0);  // 38 tokens are few
  EXPECT_EQ(nodes(MiniSequenceRows{5, 1}), 4);
}

TEST(Recompute, TakesEveryNthBlock) {
  const TinyModel whole(tiny_recipe(Family::kJamba, 5));
  const Text t = text(19);
  const auto nodes = [&](const MemoryConfig& memory, const char* name) {
    const CausalLM model(whole->config(), whole.store(), memory);
    const Documents documents = Documents::from_ids(t.ids, at::kCPU);
    return count_nodes(model.loss(t.tokens, t.targets, documents).loss, name);
  };
  EXPECT_EQ(nodes({}, "Recomputed"), 0);
  for (const auto& [every, blocks] : {std::pair{1, 5}, {2, 3}, {3, 2}, {5, 1}, {9, 1}}) {
    const MemoryConfig memory{MiniSequenceRule::kNone, Recompute::kBlock, every};
    EXPECT_EQ(nodes(memory, "Recomputed"), blocks) << every;
  }
}

// Where its values are not wanted, a part runs in the backward pass alone.
TEST(InSlices, RunsOnceWhereItsValuesAreUnused) {
  const Row row;
  int calls = 0;
  const auto square = [&](const Row& own) {
    return [&calls, w = own.weight](const Tensor& x, int64_t, Values) {
      ++calls;
      return at::tanh(at::linear(x, w.narrow(0, 0, 4)));
    };
  };
  const Tensor y = in_slices(row.x, 4, square(row), Values::kUnused);
  EXPECT_EQ(calls, 0);
  y.sum().backward();
  EXPECT_EQ(calls, 3);
  const Row other;
  square(other)(other.x, 0, Values::kWanted).sum().backward();
  EXPECT_LE(max_difference(row.x.grad(), other.x.grad()), 1e-14);
  EXPECT_LE(max_difference(row.weight.grad(), other.weight.grad()), 1e-14);
}

// Forward passes of gelu while a gpt2 of two layers, whose MLPs are cut into eight slices each,
// makes its gradients.
int gelus_of_a_step(const MemoryConfig& memory) {
  const TinyModel tiny(tiny_recipe(Family::kGpt2, 2));
  const CausalLM model(tiny->config(), tiny.store(), memory);
  const Tensor tokens = token_row({1, 2, 3, 4, 5, 6, 7, 8});
  Profile profile;
  profile.start();
  model.loss(tokens, tokens, Documents::whole_rows(1, 8, at::kCPU)).loss.backward();
  profile.stop();
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "profile.json";
  WEFT_CHECK(profile.write_chrome_trace(file).ok(), file);
  const std::string trace = contents(file), name = "\"weft::gelu\"";
  int count = 0;
  for (size_t at = 0; (at = trace.find(name, at)) != std::string::npos; ++at) ++count;
  return count;
}

// Two forward passes of an MLP, whether its layer is computed again or not: the layer's second pass
// leaves out the values that nobody wants.
TEST(Recompute, RunsAnMlpInSlicesTwice) {
  const MiniSequences one_token(MiniSequenceRows{1, 8});
  EXPECT_EQ(gelus_of_a_step({MiniSequenceRule::kNone}), 2);
  EXPECT_EQ(gelus_of_a_step({MiniSequenceRule::kNone, Recompute::kBlock}), 4);
  EXPECT_EQ(gelus_of_a_step({one_token}), 2 * 2 * 8);
  EXPECT_EQ(gelus_of_a_step({one_token, Recompute::kBlock}), 2 * 2 * 8);
}

using Gradients = std::map<std::string, Tensor>;  // by name

// Of two micro-batches, the second one backwards, with all that the passes report.
Gradients gradients(const ModelRecipe& recipe, const Text& t, const StoreTypes& types,
                    const MemoryConfig& memory) {
  const ModelConfig config = built(recipe);
  const ParameterTable table = parameter_table(config);
  ParameterStore store(table, types);
  store.initialize(1);
  const CausalLM model(config, store, memory);
  Gradients all;
  for (const Tensor& tokens : {t.tokens, t.tokens.flip(1)}) {
    const LossTerms terms = model.loss(tokens, t.targets, Documents::from_ids(t.ids, at::kCPU),
                                       {0.1, {.z_loss = 0.01, .label_smoothing = 0.05}});
    const Tensor loss = terms.loss + terms.aux_sum * 0.5;
    loss.backward();
    const std::string pass = all.empty() ? "first " : "second ";
    all[pass + "loss"] = loss.detach();
    all[pass + "aux"] = terms.aux_sum.detach();
    if (terms.pooled_balance.defined()) all[pass + "pooled"] = terms.pooled_balance.detach();
    for (const Tensor& counts : terms.expert_counts) {
      all[pass + "counts " + std::to_string(all.size())] = counts;
    }
  }
  for (const Parameter& p : store.parameters()) all[p.spec->name] = p.gradient.clone();
  return all;
}

bool is_reported(const std::string& name) {
  return name.starts_with("first ") || name.starts_with("second ");
}

double norm_of(const Tensor& t) { return t.to(at::kDouble).norm().item<double>(); }
double distance(const Tensor& a, const Tensor& b) {
  return norm_of(a.to(at::kDouble) - b.to(at::kDouble));
}

// Losses by their largest difference, gradients by the norm of theirs, relative to each tensor; or,
// where gradients nearly cancel, to a thousandth of the largest norm. One that is nothing but
// rounding, below a tenth of `gradient` beside the largest, must be so in both.
struct Tolerance {
  double loss, gradient;
};

void expect_equal(const Gradients& ours, const Gradients& expected, const Tolerance& tolerance) {
  ASSERT_EQ(ours.size(), expected.size());
  double largest = 0;
  for (const auto& [name, tensor] : expected) {
    if (!is_reported(name)) largest = std::max(largest, norm_of(tensor));
  }
  EXPECT_GT(largest, 0);
  for (const auto& [name, tensor] : expected) {
    const Tensor& value = ours.at(name);
    if (is_reported(name)) {
      EXPECT_LE(max_difference(value, tensor), tolerance.loss * max_magnitude(tensor)) << name;
      continue;
    }
    const double norm = norm_of(tensor), nothing = 0.1 * tolerance.gradient * largest;
    if (norm <= nothing) {
      EXPECT_LE(norm_of(value), nothing) << name;
    } else {
      EXPECT_LE(distance(value, tensor), tolerance.gradient * std::max(norm, 1e-3 * largest))
          << name;
    }
  }
}

// Four layers, of every kind of mixer where they are mixed, with a balance loss of either form
// where there are experts.
ModelRecipe recipe_of(Family family) {
  ModelRecipe recipe = tiny_recipe(family, 4);
  if (family == Family::kHybrid) {
    recipe.layout.pattern = "MSAW";
    recipe.layout.feed_forward = "EDNE";
    recipe.attention.sliding_window = 5;
  }
  // The gradient of a norm of 2 numbers (hidden_size / 16) is a small part of what comes into it:
  // rounding of fp32 is 1.2e-5 of x_dt's then.
  recipe.mamba.dt_rank = 4;
  recipe.moe.aux = family == Family::kMixtral ? AuxForm::kHf : AuxForm::kSwitch;
  recipe.moe.aux_coef = 0.02;
  recipe.moe.z_coef = 0.01;
  return recipe;
}

class MiniSequencesOfFamily : public testing::TestWithParam<Family> {};

TEST_P(MiniSequencesOfFamily, HaveTheLossAndGradientsOfTheWhole) {
  const ModelRecipe recipe = recipe_of(GetParam());
  const MemoryConfig whole{MiniSequenceRule::kNone};
  for (const Text& t : {text(1, 1), text(1), text(19)}) {
    const Gradients exact = gradients(recipe, t, cpu_types(at::kDouble), whole);
    const Gradients plain = gradients(recipe, t, cpu_types(at::kFloat), whole);
    for (const MiniSequenceRows rows : {MiniSequenceRows{5, 7}, {1, 1}, {1000, 3}, {3, 1000}}) {
      expect_equal(gradients(recipe, t, cpu_types(at::kDouble), {rows}), exact, {1e-13, 1e-12});
      expect_equal(gradients(recipe, t, cpu_types(at::kFloat), {rows}), plain, {1e-6, 1e-5});
    }
  }
}

// The same kernels run the second time: not a bit differs.
TEST_P(MiniSequencesOfFamily, AreTheSameInBlocksThatAreComputedAgain) {
  const ModelRecipe recipe = recipe_of(GetParam());
  const StoreTypes bf16 = {at::kFloat, at::kBFloat16, at::kCPU};
  for (const Text& t : {text(1, 1), text(1), text(19)}) {
    for (const MiniSequences& mini_sequences :
         {MiniSequences(MiniSequenceRule::kNone), MiniSequences(MiniSequenceRows{5, 7})}) {
      for (const StoreTypes& types : {cpu_types(at::kFloat), bf16}) {
        const Gradients kept = gradients(recipe, t, types, {mini_sequences});
        for (const auto& [recompute, every] : {std::pair{Recompute::kBlock, 1},
                                               {Recompute::kBlock, 2},
                                               {Recompute::kBlock, 3},
                                               {Recompute::kSelective, 1},
                                               {Recompute::kSelective, 3}}) {
          const Gradients again = gradients(recipe, t, types, {mini_sequences, recompute, every});
          ASSERT_EQ(again.size(), kept.size());
          for (const auto& [name, tensor] : kept) {
            EXPECT_TRUE(again.at(name).equal(tensor))
                << name << ", " << name_of(recompute) << ", every " << every;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, MiniSequencesOfFamily,
                         testing::Values(Family::kJamba, Family::kMamba, Family::kMamba2,
                                         Family::kLlama, Family::kGpt2, Family::kMixtral,
                                         Family::kOpenElm, Family::kHybrid),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace weft
