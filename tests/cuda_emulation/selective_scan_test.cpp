#include "models/kernels/selective_scan.h"

#include <cmath>

#include "models/kernels/cuda/partials.h"
#include "models/kernels/cuda/selective_scan.h"
#include "models/kernels/dispatch.h"
#include "tests/cuda_emulation/results.h"
#include "tests/kernels/scan_case.h"

namespace weft {
namespace {

constexpr ScanCase kCases[] = {{1, 1, 1, 1},    {3, 1, 37, 17}, {2, 59, 3, 3},
                               {1, 97, 33, 16}, {2, 64, 5, 17}, {1, 40, 2, 35}};

template <class S>
ScanInputs<S> raw(const SelectiveScanInputs& in) {
  using C = Compute<S>;
  return {.shape = {in.x.size(0), in.x.size(1), in.x.size(2), in.b.size(2)},
          .x = rows<const S>(in.x),
          .dt = rows<const S>(in.dt),
          .b = rows<const S>(in.b),
          .c = rows<const S>(in.c),
          .z = rows<const S>(in.z),
          .a_log = values<const C>(in.a_log),
          .d = values<const C>(in.d),
          .dt_bias = values<const C>(in.dt_bias),
          .starts = values<const bool>(in.starts),
          .a = nullptr};
}

// Token- and channel-wise inputs as parts of one tensor of wider rows.
SelectiveScanInputs strided(const SelectiveScanInputs& in) {
  SelectiveScanInputs out = in;
  for (Tensor* t : {&out.x, &out.dt, &out.b, &out.c, &out.z}) {
    *t = blank({t->size(0), t->size(1), t->size(2) + 3}, t->scalar_type())
             .narrow(2, 1, t->size(2))
             .copy_(*t);
  }
  return out;
}

Tensor blank_entering(const SelectiveScanInputs& in) {
  const int64_t chunks = (in.x.size(1) + kScanChunk - 1) / kScanChunk;
  return blank({in.x.size(0), chunks, in.b.size(2), in.x.size(2)}, in.a_log.scalar_type());
}

// Of partial sums [count, ...], in the shape and type of `like`.
template <class S>
Tensor summed(const Tensor& partials, const Tensor& like) {
  const Tensor out = blank(like.sizes(), like.scalar_type());
  cuda::sum_partials<S>(values<const Compute<S>>(partials), partials.size(0), out.numel(),
                        values<S>(out), nullptr);
  return out;
}

// As scan_results.
template <class S>
std::vector<Tensor> emulated_as(const SelectiveScanInputs& in) {
  using C = Compute<S>;
  const auto wide = in.a_log.scalar_type();
  const int64_t batch = in.x.size(0), time = in.x.size(1), channels = in.x.size(2);
  const int64_t states = in.b.size(2);
  const int64_t groups = (channels + cuda::kScanGroup - 1) / cuda::kScanGroup;
  const auto like = [](const Tensor& t) { return blank(t.sizes(), t.scalar_type()); };
  const Tensor y = like(in.x), dx = like(in.x), ddt = like(in.x), dz = like(in.x);
  const Tensor dy = scan_loss_weight(y), entering = blank_entering(in);
  const Tensor db = blank({groups, batch, time, states}, wide), dc = like(db);
  const Tensor da_log = blank({batch, channels, states}, wide);
  const Tensor dd = blank({batch, channels}, wide), ddt_bias = like(dd), carries = like(da_log);
  cuda::selective_scan(
      ScanForward<S>{raw<S>(in), rows<S>(y), values<C>(entering), nullptr, nullptr}, nullptr);
  cuda::selective_scan(ScanBackward<S>{.in = raw<S>(in),
                                       .entering = values<const C>(entering),
                                       .dy = rows<const S>(dy),
                                       .dx = rows<S>(dx),
                                       .ddt = rows<S>(ddt),
                                       .dz = rows<S>(dz),
                                       .db = values<C>(db),
                                       .dc = values<C>(dc),
                                       .da_log = values<C>(da_log),
                                       .dd = values<C>(dd),
                                       .ddt_bias = values<C>(ddt_bias),
                                       .carries = values<C>(carries)},
                       nullptr);
  return {y,
          dx,
          ddt,
          summed<S>(db, in.b),
          summed<S>(dc, in.c),
          dz,
          summed<C>(da_log, in.a_log),
          summed<C>(dd, in.d),
          summed<C>(ddt_bias, in.dt_bias)};
}

std::vector<Tensor> emulated(const SelectiveScanInputs& in) {
  return in_both_orders([&] {
    std::vector<Tensor> results;
    with_storage(in.x, [&](auto storage) { results = emulated_as<decltype(storage)>(in); });
    return results;
  });
}

Tensor on_cpu(const SelectiveScanInputs& in) { return selective_scan(in); }

TEST(SelectiveScanEmulated, IsAsExactAsItsCpuTwin) {
  for (const ScanCase& c : kCases) {
    for (const at::ScalarType type : kStorageTypes) {
      SCOPED_TRACE(testing::PrintToString(c) + " " + at::toString(type));
      const SelectiveScanInputs in = scan_inputs(c, type);
      expect_all_as_exact(emulated(strided(in)), scan_results(selective_scan_reference, in, type),
                          scan_results(on_cpu, in, at::kDouble));
    }
  }
}

TEST(SelectiveScanEmulated, TakesEmptyInput) {
  for (const ScanCase& c : {ScanCase{0, 5, 3, 2}, ScanCase{2, 0, 3, 2}, ScanCase{2, 5, 0, 2}}) {
    const auto results = emulated(scan_inputs(c, at::kFloat));
    EXPECT_EQ(results[0].numel(), 0);
    for (size_t i = 6; i < results.size(); ++i) {
      EXPECT_EQ(max_magnitude(results[i]), 0) << kScanResults[i];
    }
  }
}

// y and the final state, which is written over the first one.
std::vector<Tensor> emulated_with_state(const SelectiveScanInputs& in) {
  return in_both_orders([&]() -> std::vector<Tensor> {
    const Tensor y = blank(in.x.sizes(), in.x.scalar_type());
    const Tensor state = in.initial_state.clone(), entering = blank_entering(in);
    with_storage(in.x, [&](auto storage) {
      using S = decltype(storage);
      using C = Compute<S>;
      // The kernel of a single token has no need of `entering`.
      C* const scratch = in.x.size(1) == 1 ? nullptr : values<C>(entering);
      cuda::selective_scan(
          ScanForward<S>{raw<S>(in), rows<S>(y), scratch, values<C>(state), values<C>(state)},
          nullptr);
    });
    return {y, state};
  });
}

ScanOutputs with_state_on_cpu(const SelectiveScanInputs& in) {
  return selective_scan_with_state(in);
}

TEST(SelectiveScanEmulated, WithAStateIsAsExactAsItsCpuTwin) {
  for (const ScanCase& c : kCases) {
    for (const at::ScalarType type : kStorageTypes) {
      SCOPED_TRACE(testing::PrintToString(c) + " " + at::toString(type));
      const SelectiveScanInputs in = scan_inputs_with_state(c, type);
      expect_all_as_exact(emulated_with_state(strided(in)),
                          state_results(selective_scan_with_state_reference, in, type),
                          state_results(with_state_on_cpu, in, at::kDouble));
    }
  }
}

TEST(SelectiveScanEmulated, ADocumentsStartForgetsTheState) {
  for (const int64_t time : {1, 40}) {
    SelectiveScanInputs in = scan_inputs_with_state({3, time, 33, 16}, at::kDouble);
    in.starts.select(1, 0).fill_(true);
    const ScanOutputs truth = selective_scan_with_state(in);
    in.initial_state.fill_(std::nan(""));
    const std::vector<Tensor> expected = {truth.y, truth.final_state};
    expect_all_as_exact(emulated_with_state(in), expected, expected);
  }
}

}  // namespace
}  // namespace weft
