// What a step adds up and updates: the norm of gradients, AdamW, partial sums.
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/TensorOperators.h>

#include "models/kernels/cuda/adamw.h"
#include "models/kernels/cuda/partials.h"
#include "models/kernels/cuda/sum_of_squares.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/sum_of_squares.h"
#include "tests/cuda_emulation/results.h"
#include "tests/kernels/adamw_case.h"
#include "tests/support/fill.h"

namespace weft {
namespace {

// A tensor that begins `offset` elements behind an aligned address.
Tensor shifted(const Tensor& t, int64_t offset) {
  const Tensor memory = blank({t.numel() + offset}, t.scalar_type());
  return memory.narrow(0, offset, t.numel()).copy_(t.reshape(-1));
}

template <class C>
AdamWUpdate<C> raw_update() {
  const AdamWStep& step = kAdamWStep;
  const auto t = static_cast<double>(step.number);
  const double first = 1 - std::pow(step.beta1, t), second = 1 - std::pow(step.beta2, t);
  return {.gradient_scale = static_cast<C>(step.gradient_scale),
          .beta1 = static_cast<C>(step.beta1),
          .beta2 = static_cast<C>(step.beta2),
          .one_minus_beta1 = static_cast<C>(1 - step.beta1),
          .one_minus_beta2 = static_cast<C>(1 - step.beta2),
          .decay = static_cast<C>(step.lr * step.weight_decay),
          .step_size = static_cast<C>(step.lr / first),
          .root_scale = static_cast<C>(1 / std::sqrt(second)),
          .eps = static_cast<C>(step.eps)};
}

template <class C>
void run_adamw(const std::vector<AdamWTensors>& parameters) {
  std::vector<AdamWValues<C>> raw;
  std::vector<int64_t> sizes;
  for (const AdamWTensors& p : parameters) {
    raw.push_back({values<C>(p.master), values<C>(p.gradient), values<C>(p.m), values<C>(p.v),
                   p.copy.defined() ? values<Bf16>(p.copy) : nullptr});
    sizes.push_back(p.master.numel());
  }
  cuda::adamw(raw_update<C>(), raw, sizes, nullptr);
}

// One of the tensors, another one for each index, begins behind an aligned address.
AdamWTensors placed(const AdamWTensors& p, int64_t index) {
  const auto copied = [&](const Tensor& t, int64_t remainder) {
    return shifted(t, index % 7 == remainder ? 1 : 0);
  };
  return {copied(p.master, 1), copied(p.gradient, 2), copied(p.m, 3), copied(p.v, 4),
          p.copy.defined() ? shifted(p.copy, index % 3) : Tensor()};
}

TEST(AdamWEmulated, IsTheDefinitionAtAnyAddress) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    std::vector<AdamWTensors> start;
    for (int times = 0; times < 7; ++times) {  // more than a launch takes
      for (const int64_t n : {1, 0, 3, 4, 5, 8191, 8192, 8193, 16385, 1003}) {
        start.push_back(adamw_parameter({n}, type, type == at::kFloat && n % 2 == 1));
      }
    }
    std::vector<AdamWTensors> moved;
    in_both_orders([&] {
      moved.clear();
      for (size_t i = 0; i < start.size(); ++i) {
        moved.push_back(placed(start[i], static_cast<int64_t>(i)));
      }
      type == at::kDouble ? run_adamw<double>(moved) : run_adamw<float>(moved);
      std::vector<Tensor> results;
      for (const AdamWTensors& p : moved) {
        results.insert(results.end(), {p.master, p.m, p.v});
        if (p.copy.defined()) results.push_back(p.copy);
      }
      return results;
    });
    for (size_t i = 0; i < start.size(); ++i) expect_updated(moved[i], adamw_truth(start[i]));
  }
}

template <class C>
double emulated_squares(const std::vector<Tensor>& tensors) {
  std::vector<const C*> raw;
  std::vector<int64_t> sizes;
  for (const Tensor& t : tensors) {
    raw.push_back(values<const C>(t));
    sizes.push_back(t.numel());
  }
  const std::vector<Tensor> results = in_both_orders([&]() -> std::vector<Tensor> {
    const Tensor partials = blank({cuda::count_partial_squares(sizes)}, at::kDouble);
    const Tensor total = blank({1}, at::kDouble);
    cuda::sum_of_squares(raw, sizes, values<double>(partials), values<double>(total), nullptr);
    return {partials, total};
  });
  return results[1].item<double>();
}

double emulated_squares_of(const std::vector<Tensor>& tensors) {
  return tensors[0].scalar_type() == at::kDouble ? emulated_squares<double>(tensors)
                                                 : emulated_squares<float>(tensors);
}

TEST(SumOfSquaresEmulated, IsThatOfItsCpuTwin) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    std::vector<Tensor> tensors;  // more than a launch takes
    for (int64_t i = 0; i < 12; ++i) {
      for (const int64_t n : {0, 1, 3, 4, 1003, 8191, 8192, 8193}) {
        tensors.push_back(
            shifted(fill({n}, 0.3 + static_cast<double>(i)).to(type), i % 3 == 1 ? 1 : 0));
      }
    }
    const double expected = sum_of_squares(tensors);
    EXPECT_NEAR(emulated_squares_of(tensors), expected, 1e-12 * expected);
    const Tensor odd = fill({20001}, 1.5).to(type);
    EXPECT_EQ(emulated_squares_of({shifted(odd, 1)}), emulated_squares_of({odd}));
    EXPECT_EQ(emulated_squares_of({tensors[0]}), 0);  // of no element
    tensors[7].select(0, 5000).fill_(std::numeric_limits<double>::quiet_NaN());
    EXPECT_TRUE(std::isnan(emulated_squares_of(tensors)));
  }
}

TEST(PartialsEmulated, AreAddedUpAndRoundedOnce) {
  for (const at::ScalarType type : kStorageTypes) {
    for (const int64_t size : {0, 1, 59, 256, 1025}) {
      for (const int64_t count : {0, 1, 7}) {
        const Tensor partials = fill({count, size}, 0.4).to(wide_type(type));
        const auto ours = in_both_orders([&]() -> std::vector<Tensor> {
          const Tensor out = blank({size}, type);
          with_storage(out, [&](auto storage) {
            using S = decltype(storage);
            cuda::sum_partials<S>(values<const Compute<S>>(partials), count, size, values<S>(out),
                                  nullptr);
          });
          return {out};
        });
        Tensor sum = at::full({size}, 0.0, partials.options());
        for (int64_t p = 0; p < count; ++p) sum += partials[p];
        EXPECT_TRUE(ours[0].equal(sum.to(type))) << size << " of " << count;
      }
    }
  }
}

}  // namespace
}  // namespace weft
