#pragma once
// A model of a few thousand parameters with random weights, ready to compute, in fp64 on the CPU
// unless said otherwise.
//
//   ModelRecipe recipe = tiny_recipe(Family::kHybrid, 4);
//   recipe.layout.pattern = "MA";
//   const TinyModel tiny(recipe);
//   const Tensor logits = tiny->logits(...);
#include <cstdint>
#include <utility>
#include <vector>

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "models/causal_lm.h"
#include "models/families.h"
#include "tests/support/tiny_store.h"

namespace weft {

inline constexpr int64_t kTinyVocabulary = 37;  // odd: no kernel's width divides it

// Small widths, and weights large enough that a wrong one shows in the logits. Not resolved: the
// test goes on from here.
inline ModelRecipe tiny_recipe(Family family, int64_t num_layers) {
  ModelRecipe recipe;
  recipe.family = family;
  recipe.vocab_size = kTinyVocabulary;
  recipe.hidden_size = 32;
  recipe.num_layers = num_layers;
  recipe.num_heads = 4;
  recipe.num_kv_heads = 2;
  recipe.mamba2.state_size = 6;
  recipe.mamba2.head_dim = 16;
  recipe.mamba2.chunk_size = 4;
  recipe.moe.num_experts = 4;
  recipe.init.std = 0.2;
  return recipe;
}

// What a recipe that has no problems is built as.
inline ModelConfig built(ModelRecipe recipe) {
  resolve(recipe);
  Problems problems;
  validate(recipe, problems);
  EXPECT_EQ(problems.text(), "");
  return build_config(recipe);
}

class TinyModel final {
 public:
  explicit TinyModel(ModelConfig config, StoreTypes types = cpu_types(at::kDouble),
                     uint64_t seed = 1)
      : config_(std::move(config)),
        table_(parameter_table(config_)),
        store_(table_, types),
        model_(initialized(seed)) {}
  explicit TinyModel(const ModelRecipe& recipe, StoreTypes types = cpu_types(at::kDouble))
      : TinyModel(built(recipe), types) {}
  TinyModel(const TinyModel&) = delete;
  TinyModel& operator=(const TinyModel&) = delete;

  const CausalLM& operator*() const { return model_; }
  const CausalLM* operator->() const { return &model_; }
  // Changed values are the model's at once, where it computes in the masters' type.
  ParameterStore& store() { return store_; }
  const ParameterStore& store() const { return store_; }

 private:
  CausalLM initialized(uint64_t seed) {
    store_.initialize(seed);
    return CausalLM(config_, store_);
  }

  const ModelConfig config_;
  const ParameterTable table_;
  ParameterStore store_;
  const CausalLM model_;
};

// [1, T]
inline Tensor token_row(const std::vector<int64_t>& ids) {
  return at::tensor(ids, at::kLong).unsqueeze(0);
}

// [T, V] logits of one sequence, every token from all before it at once.
inline Tensor whole_logits(const CausalLM& model, const std::vector<int64_t>& ids) {
  const at::NoGradGuard no_grad;
  const auto length = static_cast<int64_t>(ids.size());
  return model.logits(token_row(ids), Documents::whole_rows(1, length, at::kCPU))[0];
}

}  // namespace weft
