#include "models/recompute.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/kept_results.h"
#include "models/mini_sequences.h"

namespace weft {
namespace {

Tensor run_slices(const Tensor& x, const std::vector<Tensor>& weights, int64_t rows,
                  const RowFunction& f) {
  const KeepingResults none(nullptr, KeepingResults::Run::kFirst);
  if (rows >= x.size(0)) return f(x, weights);
  Tensor all;
  for_each_slice(x.size(0), rows, [&](int64_t first, int64_t size) {
    const Tensor y = f(x.narrow(0, first, size), weights);
    if (!all.defined()) {
      std::vector<int64_t> sizes = y.sizes().vec();
      sizes[0] = x.size(0);
      all = at::empty(sizes, y.options());
    }
    all.narrow(0, first, size).copy_(y);
  });
  return all;
}

// The inputs of one slice as leaves of a graph of its own, and their gradients' sums.
class Leaves {
 public:
  // `wanted[0]` is of x, the rest of the weights.
  Leaves(const std::vector<Tensor>& weights, const std::vector<bool>& wanted)
      : wanted_(wanted), sums_(weights.size()) {
    for (size_t i = 0; i < weights.size(); ++i) {
      weights_.push_back(weights[i].detach().set_requires_grad(wanted_[i + 1]));
    }
  }

  const std::vector<Tensor>& weights() const { return weights_; }

  // Back through y, made of x and weights(); dx's rows are filled where they are wanted.
  void back_propagate(const Tensor& y, const Tensor& dy, const Tensor& x, const Tensor& dx) {
    std::vector<Tensor> inputs;
    if (wanted_[0]) inputs.push_back(x);
    for (size_t i = 0; i < weights_.size(); ++i) {
      if (wanted_[i + 1]) inputs.push_back(weights_[i]);
    }
    WEFT_CHECK(y.sizes() == dy.sizes() && y.scalar_type() == dy.scalar_type(),
               "a slice's result is ", y.toString(), " ", y.sizes(), ", its gradient ",
               dy.toString(), " ", dy.sizes());
    const std::vector<Tensor> grads = torch::autograd::grad({y}, inputs, {dy});
    size_t next = 0;
    if (wanted_[0]) dx.copy_(grads[next++]);
    for (size_t i = 0; i < weights_.size(); ++i) {
      if (wanted_[i + 1]) add(grads[next++], sums_[i]);
    }
  }

  // In the weights' types; undefined where no gradient is wanted.
  std::vector<Tensor> gradients() const {
    std::vector<Tensor> rounded;
    for (size_t i = 0; i < sums_.size(); ++i) {
      rounded.push_back(sums_[i].defined() ? sums_[i].to(weights_[i].scalar_type()) : Tensor());
    }
    return rounded;
  }

 private:
  static void add(const Tensor& grad, Tensor& sum) {
    if (sum.defined()) {
      sum.add_(grad);
    } else {
      sum = grad.to(wide_type(grad.scalar_type()));
    }
  }

  const std::vector<bool>& wanted_;
  std::vector<Tensor> weights_, sums_;
};

// A function that a graph keeps for its backward pass.
struct Holder final : torch::CustomClassHolder {
  explicit Holder(RowFunction function) : f(std::move(function)) {}
  RowFunction f;
};

class InSlices final : public torch::autograd::Function<InSlices> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x,
                        at::TensorList weights, int64_t rows, const RowFunction& f, Values values) {
    torch::autograd::variable_list saved = weights.vec();
    saved.push_back(x);
    ctx->save_for_backward(saved);
    ctx->saved_data["rows"] = rows;
    ctx->saved_data["f"] = c10::IValue::make_capsule(c10::make_intrusive<Holder>(f));
    if (values == Values::kUnused) return at::empty_like(x);
    return run_slices(x, weights.vec(), rows, f);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "in_slices has no second derivatives");
    std::vector<Tensor> weights = ctx->get_saved_variables();
    const Tensor x = weights.back();
    weights.pop_back();
    std::vector<bool> wanted;
    for (size_t i = 0; i <= weights.size(); ++i) wanted.push_back(ctx->needs_input_grad(i));
    const auto holder =
        c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["f"].toCapsule());
    const Tensor dx = wanted[0] ? at::empty_like(x) : Tensor();
    Leaves leaves(weights, wanted);
    const KeepingResults none(nullptr, KeepingResults::Run::kFirst);
    for_each_slice(x.size(0), ctx->saved_data["rows"].toInt(), [&](int64_t first, int64_t size) {
      const at::AutoGradMode with_gradients(true);
      const Tensor rows = x.narrow(0, first, size).detach().set_requires_grad(wanted[0]);
      leaves.back_propagate(holder->f(rows, leaves.weights()), grads[0].narrow(0, first, size),
                            rows, wanted[0] ? dx.narrow(0, first, size) : Tensor());
    });
    torch::autograd::variable_list result = leaves.gradients();
    result.insert(result.begin(), dx);
    result.resize(result.size() + 3);  // of `rows`, `f` and `values`
    return result;
  }
};

// What the second run needs.
struct Again : torch::CustomClassHolder {
  Again(PartFunction function, bool keeps) : f(std::move(function)), keeps_results(keeps) {}
  PartFunction f;
  bool keeps_results;
  KeptResults results;
};

class Recomputed final : public torch::autograd::Function<Recomputed> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* ctx,
                                                const Tensor& x, const PartFunction& f, Keep keep) {
    ctx->save_for_backward({x});
    const auto again = c10::make_intrusive<Again>(f, keep == Keep::kProducts);
    ctx->saved_data["again"] = c10::IValue::make_capsule(again);
    std::vector<Tensor> outputs =
        run(x, *again, KeepingResults::Run::kFirst, Values::kWanted).outputs;
    for (Tensor& output : outputs) output = output.detach();
    return outputs;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "recomputed has no second derivatives");
    const auto again =
        c10::static_intrusive_pointer_cast<Again>(ctx->saved_data["again"].toCapsule());
    const Run second =
        run(ctx->get_saved_variables()[0], *again, KeepingResults::Run::kSecond, Values::kUnused);
    torch::autograd::backward(second.outputs, grads);
    return {second.x.grad(), {}, {}};
  }

 private:
  struct Run {
    Tensor x;  // a leaf of the run's own graph
    std::vector<Tensor> outputs;
  };
  // With gradients both times: without them other kernels would run.
  static Run run(const Tensor& x, Again& again, KeepingResults::Run number, Values values) {
    const at::AutoGradMode with_gradients(true);
    const KeepingResults keeping(again.keeps_results ? &again.results : nullptr, number);
    Run result{x.detach().set_requires_grad(true), {}};
    result.outputs = again.f(result.x, values);
    WEFT_CHECK(number == KeepingResults::Run::kFirst || again.results.all_taken(),
               "the second run of a part computes other products than the first");
    return result;
  }
};

}  // namespace

Tensor in_slices(const Tensor& x, const std::vector<Tensor>& weights, int64_t rows,
                 const RowFunction& f, Values values) {
  WEFT_CHECK(x.dim() == 2 && rows >= 1, "in_slices of x ", x.sizes(), " by ", rows, " rows");
  if (x.size(0) == 0) return f(x, weights);
  if (!at::GradMode::is_enabled()) return run_slices(x, weights, rows, f);
  // Autograd takes no undefined inputs.
  std::vector<Tensor> defined;
  for (const Tensor& weight : weights) {
    if (weight.defined()) defined.push_back(weight);
  }
  if (defined.size() == weights.size()) {
    return InSlices::apply(x, at::TensorList(defined), rows, f, values);
  }
  std::vector<bool> has;
  for (const Tensor& weight : weights) has.push_back(weight.defined());
  const RowFunction with_undefined = [f, has](const Tensor& some,
                                              const std::vector<Tensor>& given) {
    std::vector<Tensor> all(has.size());
    auto next = given.begin();
    for (size_t i = 0; i < has.size(); ++i) {
      if (has[i]) all[i] = *next++;
    }
    return f(some, all);
  };
  return InSlices::apply(x, at::TensorList(defined), rows, with_undefined, values);
}

std::vector<Tensor> recomputed(const Tensor& x, const PartFunction& f, Keep keep) {
  WEFT_CHECK(at::GradMode::is_enabled() && x.requires_grad(), "recomputed without gradients");
  return Recomputed::apply(x, f, keep);
}

}  // namespace weft
