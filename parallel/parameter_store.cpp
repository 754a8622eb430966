#include "parallel/parameter_store.h"

#include <algorithm>
#include <cmath>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "base/check.h"
#include "base/random.h"

namespace weft {
namespace {

// Elements of a parameter are made in pieces of this many, on whichever thread is free.
constexpr int64_t kPiece = 1 << 16;

double inverse_softplus(double x) { return x + std::log(-std::expm1(-x)); }

// Elements [first, first + out.size()) of the logical tensor.
void fill_piece(const ParameterSpec& spec, const RandomStream& stream, int64_t first,
                std::span<double> out) {
  const Initializer& init = spec.init;
  switch (init.kind) {
    case Initializer::Kind::kConstant:
      for (double& x : out) x = init.a;
      return;
    case Initializer::Kind::kNormal:
      stream.fill_normal(first, out);
      for (double& x : out) x *= init.a;
      return;
    case Initializer::Kind::kUniform:
      stream.fill_uniform(first, out);
      for (double& x : out) x = init.a * (2.0 * x - 1.0);
      return;
    case Initializer::Kind::kLogArange: {
      const int64_t n = spec.shape.back();
      for (size_t i = 0; i < out.size(); ++i) out[i] = std::log(1.0 + (first + i) % n);
      return;
    }
    case Initializer::Kind::kLogUniform:
      stream.fill_uniform(first, out);
      for (double& x : out) x = std::log(init.a + (init.b - init.a) * x);
      return;
    case Initializer::Kind::kInverseSoftplus: {
      stream.fill_uniform(first, out);
      const double log_low = std::log(init.a);
      const double log_range = std::log(init.b) - log_low;
      for (double& x : out) {
        x = inverse_softplus(std::max(std::exp(x * log_range + log_low), init.c));
      }
      return;
    }
  }
}

// Initial values into `out`, dense on the CPU.
template <class T>
void fill_initial(const ParameterSpec& spec, uint64_t seed, T* out) {
  const RandomStream stream(seed, "init", spec.name);
  const int64_t n = spec.numel();
  at::parallel_for(0, (n + kPiece - 1) / kPiece, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> piece;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * kPiece;
      piece.resize(std::min(kPiece, n - first));
      fill_piece(spec, stream, first, piece);
      std::copy(piece.begin(), piece.end(), out + first);
    }
  });
  if (spec.init.zero_row < 0) return;
  const int64_t width = n / spec.shape[0];
  std::fill_n(out + spec.init.zero_row * width, width, T(0));
}

void fill_initial(const ParameterSpec& spec, uint64_t seed, const Tensor& out) {
  if (out.scalar_type() == at::kFloat) {
    fill_initial(spec, seed, out.data_ptr<float>());
  } else {
    fill_initial(spec, seed, out.data_ptr<double>());
  }
}

}  // namespace

Tensor initial_value(const ParameterSpec& spec, uint64_t seed, at::ScalarType type) {
  WEFT_CHECK(type == at::kFloat || type == at::kDouble, "masters are fp32 or fp64");
  Tensor value = at::empty(spec.shape, type);
  fill_initial(spec, seed, value);
  return value;
}

int64_t store_bytes(const ParameterTable& table, const StoreTypes& types, Gradients gradients) {
  const auto master = static_cast<int64_t>(c10::elementSize(types.master));
  const auto compute = static_cast<int64_t>(c10::elementSize(types.compute));
  const bool kept = gradients == Gradients::kKept;
  int64_t bytes = 0;
  for (const ParameterSpec& spec : table.rows()) {
    const ComputeType computed =
        types.master == types.compute ? ComputeType::kMaster : spec.compute;
    int64_t width = computed == ComputeType::kMaster ? 0 : compute;
    if (kept || computed != ComputeType::kRecipe) width += master;
    if (kept) width += master;  // gradients
    bytes += spec.numel() * width;
  }
  return bytes;
}

ParameterBucket ParameterStore::allocate(const BucketLayout& layout) const {
  const auto master = at::TensorOptions().dtype(types_.master).device(types_.device);
  const bool kept = gradients_ == Gradients::kKept;
  ParameterBucket bucket{layout, {}, {}, {}};
  const auto room = [&](const at::TensorOptions& options) {
    const Tensor flat = at::empty({layout.size}, options);
    for (const BucketGap& gap : layout.gaps) flat.narrow(0, gap.offset, gap.size).zero_();
    return flat;
  };
  if (kept || layout.compute != ComputeType::kRecipe) bucket.master = room(master);
  if (kept) bucket.gradient = at::zeros({layout.size}, master);
  if (layout.compute != ComputeType::kMaster) bucket.narrow = room(master.dtype(types_.compute));
  return bucket;
}

Parameter ParameterStore::part_at(const ParameterPlace& place, const ParameterSpec& spec,
                                  int64_t rows) const {
  const ParameterBucket& bucket = buckets_[place.bucket];
  std::vector<int64_t> shape = spec.shape;
  if (!shape.empty()) shape[0] = rows;
  const auto part = [&](const Tensor& flat) {
    if (!flat.defined()) return flat;
    return flat.narrow(0, place.offset, numbers_in(spec, rows)).view(shape).detach();
  };
  const bool is_copy = bucket.layout.compute == ComputeType::kRecipe;
  Parameter p{.spec = &spec,
              .master = part(bucket.master),
              .compute = {},
              .gradient = part(bucket.gradient),
              .copy = is_copy ? Tensor() : part(bucket.narrow),
              .place = place};
  p.compute = is_copy ? part(bucket.narrow) : p.master;
  if (gradients_ == Gradients::kNone) return p;
  p.compute.set_requires_grad(true);
  if (p.copy.defined()) p.copy.set_requires_grad(true);
  // Backward then adds straight into `gradient`.
  if (!is_copy) p.compute.mutable_grad() = p.gradient;
  return p;
}

ParameterStore::ParameterStore(const ParameterTable& table, StoreTypes types, Gradients gradients)
    : table_(table), types_(types), gradients_(gradients) {
  const ParameterLayout layout = lay_out(table, types.master == types.compute);
  for (const BucketLayout& bucket : layout.buckets) buckets_.push_back(allocate(bucket));
  for (size_t i = 0; i < layout.rows.size(); ++i) {
    const ParameterSpec& spec = table.rows()[i];
    by_name_.emplace(spec.name, i);
    parameters_.push_back(part_at(layout.rows[i], spec, first_dimension(spec)));
  }
  for (const JointLayout& joint : layout.joints) {
    joint_by_name_.emplace(joint.first->joint, joints_.size());
    joints_.push_back(part_at(joint.place, *joint.first, joint.rows));
  }
}

void ParameterStore::initialize(uint64_t seed) {
  const at::NoGradGuard no_grad;
  for (Parameter& p : parameters_) {
    if (p.master.is_cpu()) {  // no second one beside it
      fill_initial(*p.spec, seed, p.master);
    } else {
      p.master.copy_(initial_value(*p.spec, seed, types_.master));
    }
  }
  refresh_compute();
}

bool ParameterStore::has(const std::string& name) const {
  return by_name_.contains(name) || joint_by_name_.contains(name);
}

const Parameter& ParameterStore::find(const std::string& name) const {
  const auto row = by_name_.find(name);
  if (row != by_name_.end()) return parameters_[row->second];
  const auto joint = joint_by_name_.find(name);
  WEFT_CHECK(joint != joint_by_name_.end(), "no parameter '", name, "'");
  return joints_[joint->second];
}

const Tensor& ParameterStore::compute(const std::string& name) const { return find(name).compute; }

const Tensor& ParameterStore::narrow(const std::string& name) const {
  const Parameter& p = find(name);
  return p.copy.defined() ? p.copy : p.compute;
}

const Tensor& ParameterStore::gradient(const std::string& name) const {
  return find(name).gradient;
}

void ParameterStore::refresh_compute() {
  const at::NoGradGuard no_grad;
  for (const ParameterBucket& bucket : buckets_) {
    if (bucket.narrow.defined() && bucket.master.defined()) bucket.narrow.copy_(bucket.master);
  }
}

void ParameterStore::clear_gradients() {
  const at::NoGradGuard no_grad;
  for (const ParameterBucket& bucket : buckets_) bucket.gradient.zero_();
}

void ParameterStore::check_gradients() const {
  for (const std::vector<Parameter>* all : {&parameters_, &joints_}) {
    for (const Parameter& p : *all) {
      const bool left = (!p.compute.is_same(p.master) && p.compute.grad().defined()) ||
                        (p.copy.defined() && p.copy.grad().defined());
      WEFT_CHECK(!left, "the gradient of '", p.spec->name, "' was left on a copy");
    }
  }
}

}  // namespace weft
