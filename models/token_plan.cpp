#include "models/token_plan.h"

#include <algorithm>
#include <variant>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include "base/check.h"
#include "models/kernels/dispatch.h"
#include "models/kernels/head_step.h"

namespace weft {
namespace {

// Tokens whose rotations are made at once.
constexpr int64_t kAhead = 64;

// f(tensor) for those that layers go on from.
template <class F>
void for_each_tensor(const DecodingState& state, const F& f) {
  for (const LayerState& layer : state.layers) {
    if (const auto* attention = std::get_if<AttentionState>(&layer)) {
      f(attention->k);
      f(attention->v);
    } else {
      const auto& scan = std::get<ScanState>(layer);
      f(scan.window);
      f(scan.h);
      f(scan.a);
    }
  }
}

// x [Bz, 1, d] = rows of weight [V, d], rounded to its type.
void embed(const Tensor& weight, const Tensor& tokens, const Tensor& x) {
  const int64_t vocab = weight.size(0), d = weight.size(1);
  const Tensor dense_tokens = tokens.contiguous();
  const auto* token = dense_tokens.const_data_ptr<int64_t>();
  const auto copy = [&]<class From, class To>(const From* rows, To* to) {
    for (int64_t row = 0; row < x.size(0); ++row) {
      WEFT_CHECK(0 <= token[row] && token[row] < vocab, "token ", token[row], " of ", vocab);
      std::copy_n(rows + token[row] * d, d, to + row * d);
    }
  };
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, weight.scalar_type(), "embed", [&] {
    const auto* rows = weight.const_data_ptr<scalar_t>();
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "embed",
                                   [&] { copy(rows, x.mutable_data_ptr<scalar_t>()); });
  });
}

}  // namespace

std::shared_ptr<TokenPlan> TokenPlan::make(const Parts& parts, DecodingState& state) {
  const auto options = at::TensorOptions(parts.head.device()).dtype(parts.stream);
  const Tensor x = at::empty({state.rows(), 1, parts.head.size(1)}, options);
  const bool possible = parts.final_norm.can_decode(x, parts.head.scalar_type()) &&
                        std::all_of(parts.blocks.begin(), parts.blocks.end(),
                                    [&](const Block& block) { return block.can_decode(x); });
  if (!possible) return nullptr;
  return std::shared_ptr<TokenPlan>(new TokenPlan(parts, x, state));
}

TokenPlan::TokenPlan(const Parts& parts, const Tensor& x, DecodingState& state)
    : parts_(parts),
      threads_(cpu::Stages::max_threads()),
      x_(x),
      lengths_(state.lengths),
      tokens_{.count = 1,
              .lengths = lengths_,
              .starts = at::zeros({state.rows(), 1}, at::kBool),
              .rotations = Rotations(next_positions(state.lengths, 1), {}, &frequencies_)},
      ahead_(Tensor()) {
  for (size_t i = 0; i < parts.blocks.size(); ++i) {
    parts.blocks[i].add_decoding_work(tokens_, state.layers[i], x_, scratch_, layers_);
  }
  scratch_.rewind();
  head_ = head_work(parts.final_norm.rms_weights(), parts.head, x_, &logits_memory_, scratch_);
  for_each_tensor(state, [&](const Tensor& tensor) { tensors_.push_back(tensor); });
}

bool TokenPlan::fits(const Parts& parts, const DecodingState& state) const {
  // Another model may be where one was, but not with its tensors, which are kept here.
  bool same = &parts.blocks == &parts_.blocks && parts.embedding.is_same(parts_.embedding) &&
              parts.head.is_same(parts_.head) && state.rows() == x_.size(0) &&
              threads_ == cpu::Stages::max_threads();
  size_t count = 0;
  for_each_tensor(state, [&](const Tensor& tensor) {
    same = same && count < tensors_.size() && tensor.is_same(tensors_[count]);
    ++count;
  });
  return same && count == tensors_.size();
}

void TokenPlan::prepare(const Tensor& tokens, const DecodingState& state) {
  embed(parts_.embedding, tokens, x_);
  std::copy(state.lengths.begin(), state.lengths.end(), lengths_.begin());
  // Rows that go on together stay as far behind what was made ahead.
  const int64_t passed =
      ahead_lengths_.empty() || lengths_.empty() ? kAhead : lengths_[0] - ahead_lengths_[0];
  const bool made =
      0 <= passed && passed < kAhead &&
      std::equal(lengths_.begin(), lengths_.end(), ahead_lengths_.begin(),
                 [&](int64_t length, int64_t from) { return length - from == passed; });
  if (!made) {
    ahead_lengths_ = lengths_;
    ahead_ = Rotations(next_positions(lengths_, kAhead), {}, &frequencies_);
  }
  tokens_.rotations.copy_from(ahead_, made ? passed : 0);
}

void TokenPlan::run(const Tensor& tokens, DecodingState& state, bool with_head) {
  prepare(tokens, state);
  cpu::Stages stages;
  for (const cpu::StagedWorkPtr& layer : layers_) layer->add_to(stages);
  if (with_head) head_->add_to(stages);
  stages.run();
  for (int64_t& length : state.lengths) ++length;
}

Tensor TokenPlan::advance(const Tensor& tokens, DecodingState& state) {
  run(tokens, state, /*with_head=*/false);
  return x_;
}

Tensor TokenPlan::logits(const Tensor& tokens, DecodingState& state) {
  const bool free =
      logits_.defined() && logits_.use_count() == 1 && logits_.storage().use_count() == 1;
  if (!free) {
    const c10::InferenceMode not_only(false);  // the next caller may be in another mode
    const auto wide = x_.options().dtype(wide_type(parts_.head.scalar_type()));
    logits_ = at::empty({state.rows(), parts_.head.size(0)}, wide);
    logits_memory_ = logits_.mutable_data_ptr();
  }
  run(tokens, state, /*with_head=*/true);
  return logits_;
}

}  // namespace weft
