#include "models/kernels/kept_results.h"

#include <utility>

#include <ATen/ops/empty.h>

#include "base/check.h"

namespace weft {
namespace {

using Run = KeepingResults::Run;

struct Current {
  KeptResults* results = nullptr;
  Run run = Run::kFirst;
};

Current& current() {
  thread_local Current current;
  return current;
}

KeptResults* kept_in(Run run) { return current().run == run ? current().results : nullptr; }

}  // namespace

Tensor KeptResults::take() {
  WEFT_CHECK(next_ < results_.size(), "a second run asks for result ", next_, " of ",
             results_.size());
  return std::exchange(results_[next_++], Tensor());  // its memory is the second run's alone
}

void KeptResults::forget_last() {
  if (!results_.empty()) results_.back() = Tensor();
}

KeepingResults::KeepingResults(KeptResults* results, Run run)
    : outer_results_(current().results), outer_run_(current().run) {
  current() = {results, run};
}

KeepingResults::~KeepingResults() { current() = {outer_results_, outer_run_}; }

KeptResults* kept_by_first_run() { return kept_in(Run::kFirst); }
KeptResults* kept_for_second_run() { return kept_in(Run::kSecond); }

Tensor known_result(at::IntArrayRef sizes, const at::TensorOptions& options, Values values) {
  if (KeptResults* found = kept_for_second_run()) {
    const Tensor result = found->take();
    if (!result.defined()) return at::empty(sizes, options);
    WEFT_CHECK(result.sizes() == sizes && result.scalar_type() == options.dtype(),
               "a second run asks for a product ", sizes, " of ", options.dtype().name(),
               ", the first kept ", result.toString(), " ", result.sizes());
    return result;
  }
  return values == Values::kUnused ? at::empty(sizes, options) : Tensor();
}

void keep_result(const Tensor& result) {
  if (KeptResults* kept = kept_by_first_run()) kept->keep(result);
}

void forget_last_result() {
  if (KeptResults* kept = kept_by_first_run()) kept->forget_last();
}

}  // namespace weft
