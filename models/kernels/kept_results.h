#pragma once
// Results of matrix products and of attention that a part of a model keeps from its first run and
// finds again in its second one, which then computes everything else anew (selective
// recomputation, arXiv:2205.05198).
#include <vector>

#include "base/tensor.h"

namespace weft {

// Whether anyone looks at a result, or only gradients are wanted that don't depend on it.
enum class Values { kWanted, kUnused };

class KeptResults final {
 public:
  // The next result of the second run; undefined where nothing is known of it but its shape.
  Tensor take();
  void keep(const Tensor& result) { results_.push_back(result.detach()); }
  // Nobody looks at the values of the result that was kept last: the second run need not have them.
  void forget_last();
  bool all_taken() const { return next_ == results_.size(); }

 private:
  std::vector<Tensor> results_;
  size_t next_ = 0;
};

// What a run does with such results, on this thread and while this object lives: keep them, find
// them, or (null) neither. Known to the thread and not handed down: products stand in every module,
// and none of them is to know of recomputation.
class KeepingResults final {
 public:
  enum class Run { kFirst, kSecond };
  KeepingResults(KeptResults* results, Run run);
  ~KeepingResults();
  KeepingResults(const KeepingResults&) = delete;
  KeepingResults& operator=(const KeepingResults&) = delete;

 private:
  KeptResults* outer_results_;
  Run outer_run_;
};

// Those that this run keeps, or finds; null if it doesn't.
KeptResults* kept_by_first_run();
KeptResults* kept_for_second_run();

// Of a product with a result [rows, out]: the result, where it need not be computed. In a second
// run it is what the first kept; where nothing of that is known, or only gradients are wanted, it
// has unknown values. Undefined: to be computed.
Tensor known_result(at::IntArrayRef sizes, const at::TensorOptions& options, Values values);

// Keeps the result of a product, in a first run that does.
void keep_result(const Tensor& result);

// As KeptResults::forget_last, in a first run that keeps results.
void forget_last_result();

}  // namespace weft
