#pragma once
// The one table of parameters: a row for each, computed from the model's config alone, with nothing
// allocated. Initialisation, optimiser groups, clipping, checkpoints, the memory planner and
// whatever else goes over the parameters iterates over this table; no second list of names exists.
// Read first in this folder; then parameter_store.h (storage for the rows) and tensor_store.h
// (files).
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace weft {

enum class MeshAxis { kNone, kTensor, kExpert };

// How a parameter is split when its axis has more than one rank: along `dim`, or replicated.
struct Sharding {
  int dim = -1;  // -1: replicated
  MeshAxis axis = MeshAxis::kNone;
};

// Initial values by logical index (spec/models.md 14). kNormal: mean 0, deviation `a`. kUniform: in
// [-a, a). kConstant: `a`. kLogArange: ln(1..n) along the last dimension. kLogUniform: ln of a
// uniform number in [a, b). kInverseSoftplus: softplus^-1(dt) with dt = max(exp(U (ln b - ln a) +
// ln a), c). Row `zero_row` of the first dimension is 0 (-1: none).
struct Initializer {
  enum class Kind { kConstant, kNormal, kUniform, kLogArange, kLogUniform, kInverseSoftplus };
  Kind kind = Kind::kConstant;
  double a = 0, b = 0, c = 0;
  int64_t zero_row = -1;
};

enum class WeightDecay { kNo, kYes };
// kMaster: kept in the master's type also where the rest computes in bf16 (norm weights, A_log, D,
// dt bias, router: spec/models.md 2). kBoth: so too, with a copy in the recipe's type beside it (an
// embedding that is looked up as it is, and multiplied with as the head).
enum class ComputeType { kRecipe, kMaster, kBoth };

struct ParameterSpec {
  std::string name;            // logical name, design.md "Names of parameters"
  std::vector<int64_t> shape;  // full, unsharded
  Sharding sharding;
  Initializer init;
  WeightDecay decay = WeightDecay::kYes;
  ComputeType compute = ComputeType::kRecipe;
  // Parameters a token uses of this one: all, or top_k / num_experts of an expert's.
  double active_share = 1.0;
  // Rows with one name here lie behind each other in memory, in the order of the table, so that
  // they can be used as one tensor of that name. Their shapes differ in the first dimension alone.
  std::string joint = {};

  int64_t numel() const;
};

class ParameterTable final {
 public:
  // REQUIRES: no row of that name yet.
  void add(ParameterSpec spec);

  const std::vector<ParameterSpec>& rows() const { return rows_; }  // in order of the forward pass
  const ParameterSpec* find(const std::string& name) const;         // null if absent
  int64_t numel() const;
  int64_t active_numel() const;

 private:
  std::vector<ParameterSpec> rows_;
  absl::flat_hash_map<std::string, size_t> by_name_;
};

}  // namespace weft
