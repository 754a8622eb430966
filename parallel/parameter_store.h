#pragma once
// Storage for the rows of a parameter table: the master value that the optimiser updates, the value
// that the model computes with (the master itself, a bf16 copy made once a step, or both), and the
// gradient summed over the micro-batches of a step in the master's type.
//
// The path of one step: the model's backward pass adds to `gradient`. Linear layers, head and
// embedding do so on their own (models/linear.h, head.h, embedding.h), so that no gradient of a
// copy is kept beside it; autograd does for the rest, which is computed with as a master.
// The optimiser's update leaves zeros there; clear_gradients() where an update is skipped.
// refresh_compute() after every change of the masters that did not see to it itself, as the
// optimiser does, which takes a bucket of rows at a time.
#include <string>
#include <vector>

#include "base/tensor.h"
#include "parallel/parameter_layout.h"
#include "parallel/parameter_table.h"

namespace weft {

struct Parameter {
  const ParameterSpec* spec;
  Tensor master;         // [shape], fp32 or fp64, on the device
  Tensor compute;        // [shape], the master, or a leaf in the compute type (ComputeType)
  Tensor gradient;       // [shape], type of master; zeros outside a step
  Tensor copy;           // [shape], leaf in the compute type beside the master (ComputeType::kBoth)
  ParameterPlace place;  // of all of these
};

// A bucket of rows (parallel/parameter_layout.h), with zeros between them.
struct ParameterBucket {
  BucketLayout layout;
  Tensor master;    // [n]
  Tensor gradient;  // [n], type of master
  Tensor narrow;    // [n] what else there is in the compute type, or undefined
};

struct StoreTypes {
  at::ScalarType master;   // kFloat, or kDouble for exactness tests
  at::ScalarType compute;  // kFloat, kBFloat16 or kDouble
  at::Device device;
};

// kNone: a model that is only read. There are no gradients, nothing requires them, and a master
// that differs from the compute value is not there either.
enum class Gradients { kNone, kKept };

// Bytes that a store of these rows takes, without what lies between them.
int64_t store_bytes(const ParameterTable& table, const StoreTypes& types, Gradients gradients);

class ParameterStore final {
 public:
  // Allocates every row of `table`, which must outlive the store. Values are uninitialised.
  ParameterStore(const ParameterTable& table, StoreTypes types,
                 Gradients gradients = Gradients::kKept);

  // Fills every master from (seed, name, element), the same on every layout and device.
  void initialize(uint64_t seed);

  // Whether there is a row, or a joint of rows, of that name.
  bool has(const std::string& name) const;
  // The value to compute with, a leaf. REQUIRES: has(name).
  const Tensor& compute(const std::string& name) const;
  // The same in the compute type: the copy of ComputeType::kBoth, where there is one.
  const Tensor& narrow(const std::string& name) const;
  // What its gradient is summed into; undefined if gradients are not kept. REQUIRES: has(name).
  const Tensor& gradient(const std::string& name) const;

  std::vector<Parameter>& parameters() { return parameters_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::vector<ParameterBucket>& buckets() const { return buckets_; }
  const ParameterTable& table() const { return table_; }
  const StoreTypes& types() const { return types_; }

  // All that is computed with from the masters that there are.
  void refresh_compute();
  // REQUIRES: gradients are kept.
  void clear_gradients();
  // After a backward pass. REQUIRES: autograd left no gradient on a copy, where it would be lost.
  void check_gradients() const;

 private:
  ParameterBucket allocate(const BucketLayout& layout) const;
  // `spec`, or a joint of `rows` rows that begins with it.
  Parameter part_at(const ParameterPlace& place, const ParameterSpec& spec, int64_t rows) const;
  const Parameter& find(const std::string& name) const;

  const ParameterTable& table_;
  StoreTypes types_;
  Gradients gradients_;
  std::vector<ParameterBucket> buckets_;
  std::vector<Parameter> parameters_;  // in the order of the table
  std::vector<Parameter> joints_;      // the same memory; `spec`: of the first row
  absl::flat_hash_map<std::string, size_t> by_name_, joint_by_name_;
};

// The initial value of `spec` for `seed`, on the CPU: fp64 arithmetic rounded to `type`.
Tensor initial_value(const ParameterSpec& spec, uint64_t seed, at::ScalarType type);

}  // namespace weft
