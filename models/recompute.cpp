#include "models/recompute.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "models/kernels/kept_results.h"
#include "models/mini_sequences.h"
#include "models/random_state.h"

namespace weft {
namespace {

Tensor run_slices(const Tensor& x, int64_t rows, const RowFunction& f) {
  const KeepingResults none(nullptr, KeepingResults::Run::kFirst);
  if (rows >= x.size(0)) return f(x, 0, Values::kWanted);
  Tensor all;
  for_each_slice(x.size(0), rows, [&](int64_t first, int64_t size) {
    const Tensor y = f(x.narrow(0, first, size), first, Values::kWanted);
    if (!all.defined()) {
      std::vector<int64_t> sizes = y.sizes().vec();
      sizes[0] = x.size(0);
      all = at::empty(sizes, y.options());
    }
    all.narrow(0, first, size).copy_(y);
  });
  return all;
}

// Back through f(x, first) into its leaves, with dy the gradient of what it gives; that of x is
// left in dx where it is defined.
void back_propagate(const RowFunction& f, const Tensor& x, int64_t first, const Tensor& dy,
                    const Tensor& dx) {
  const at::AutoGradMode with_gradients(true);
  const Tensor rows = x.detach().set_requires_grad(dx.defined());
  const Tensor y = f(rows, first, Values::kUnused);
  WEFT_CHECK(y.sizes() == dy.sizes() && y.scalar_type() == dy.scalar_type(), "a slice's result is ",
             y.toString(), " ", y.sizes(), ", its gradient ", dy.toString(), " ", dy.sizes());
  if (y.requires_grad()) torch::autograd::backward({y}, {dy});
  const at::NoGradGuard no_grad;
  if (!dx.defined()) return;
  rows.grad().defined() ? dx.copy_(rows.grad()) : dx.zero_();
}

// A function that a graph keeps for its backward pass, and what was random about it.
struct Holder final : torch::CustomClassHolder {
  Holder(RowFunction function, at::Device device) : f(std::move(function)), random(device) {}
  RowFunction f;
  RandomState random;
};

class InSlices final : public torch::autograd::Function<InSlices> {
 public:
  // `anchor`: nothing but an input that requires a gradient, as leaves of f may although x doesn't.
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Tensor&,
                        int64_t rows, const RowFunction& f, Values values) {
    ctx->save_for_backward({x});
    ctx->saved_data["rows"] = rows;
    ctx->saved_data["f"] = c10::IValue::make_capsule(c10::make_intrusive<Holder>(f, x.device()));
    if (values == Values::kUnused) return at::empty_like(x);
    return run_slices(x, rows, f);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    WEFT_CHECK(!at::GradMode::is_enabled(), "in_slices has no second derivatives");
    const Tensor x = ctx->get_saved_variables()[0];
    const auto holder =
        c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["f"].toCapsule());
    const Tensor dx = ctx->needs_input_grad(0) ? at::empty_like(x) : Tensor();
    const KeepingResults none(nullptr, KeepingResults::Run::kFirst);
    const Replay random(holder->random, x.device());
    for_each_slice(x.size(0), ctx->saved_data["rows"].toInt(), [&](int64_t first, int64_t size) {
      back_propagate(holder->f, x.narrow(0, first, size), first, grads[0].narrow(0, first, size),
                     dx.defined() ? dx.narrow(0, first, size) : dx);
    });
    return {dx, {}, {}, {}, {}};
  }
};

// What the second run needs; its input is in the stash, or saved by the graph where there is none.
struct Again : torch::CustomClassHolder {
  Again(PartFunction function, at::Device device, bool keeps, std::shared_ptr<HostStash> host)
      : f(std::move(function)), random(device), keeps_results(keeps), stash(std::move(host)) {}
  PartFunction f;
  RandomState random;
  bool keeps_results;
  KeptResults results;
  std::shared_ptr<HostStash> stash;
  size_t place = 0;
};

class Recomputed final : public torch::autograd::Function<Recomputed> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* ctx,
                                                const Tensor& x, const PartFunction& f, Keep keep,
                                                const std::shared_ptr<HostStash>& stash) {
    const auto again = c10::make_intrusive<Again>(f, x.device(), keep == Keep::kProducts, stash);
    if (stash == nullptr) {
      ctx->save_for_backward({x});
    } else {
      again->place = stash->put(x);
    }
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
    const Tensor x =
        again->stash == nullptr ? ctx->get_saved_variables()[0] : again->stash->take(again->place);
    const Replay random(again->random, x.device());
    const Run second = run(x, *again, KeepingResults::Run::kSecond, Values::kUnused);
    torch::autograd::backward(second.outputs, grads);
    return {second.x.grad(), {}, {}, {}};
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

Tensor in_slices(const Tensor& x, int64_t rows, const RowFunction& f, Values values) {
  WEFT_CHECK(x.dim() == 2 && rows >= 1, "in_slices of x ", x.sizes(), " by ", rows, " rows");
  if (x.size(0) == 0) return f(x, 0, values);
  if (!at::GradMode::is_enabled()) return run_slices(x, rows, f);
  const Tensor anchor = at::empty({0}, x.options()).set_requires_grad(true);
  return InSlices::apply(x, anchor, rows, f, values);
}

std::vector<Tensor> recomputed(const Tensor& x, const PartFunction& f, Keep keep,
                               const std::shared_ptr<HostStash>& stash) {
  WEFT_CHECK(at::GradMode::is_enabled() && x.requires_grad(), "recomputed without gradients");
  return Recomputed::apply(x, f, keep, stash);
}

}  // namespace weft
