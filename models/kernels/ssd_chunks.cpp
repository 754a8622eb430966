#include "models/kernels/ssd_chunks.h"

#include <algorithm>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include "models/kernels/ssd_states.h"

namespace weft::internal {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();  // exp(kNever) = 0

// exp() of this and of all below is 0 in fp64 too: a step's exponent is taken for it where it is
// less, so that one step that forgets all does not cost the sums of later ones their digits.
constexpr double kForgotten = -1000;

// t [Bz, T, ..] -> [rows, chunks, q, ..], a view of the pass's tokens.
Tensor tokens_of(const Tensor& t, const SsdPass& p) {
  return t.narrow(0, p.row, p.rows)
      .narrow(1, p.first, p.chunks * p.length)
      .unflatten(1, {p.chunks, p.length});
}

// A dense copy of t in `type`.
Tensor dense(const Tensor& t, at::ScalarType type) {
  return at::empty(t.sizes(), t.options().dtype(type)).copy_(t);
}

// t [Bz, T, Hs, P] -> [rows, chunks, Hs, P, q].
Tensor by_heads(const Tensor& t, const SsdPass& p, at::ScalarType type) {
  return dense(tokens_of(t, p).permute({0, 1, 3, 4, 2}), type);
}

// The inputs of a pass in the type that is computed in, and their decays.
struct Chunks {
  Tensor x, u;  // [rows, chunks, Hs, P, q]; u = dt x
  Tensor dt;    // [rows, chunks, Hs, q]
  Tensor b, c;  // [rows, chunks, G, q, N]
  // The sums s in two parts, which together have twice the digits: where they are large, so that
  // exp(s_i - s_j) is exact for tokens near each other. [rows, chunks, Hs, q]
  Tensor sums;       // rounded
  Tensor rest_to;    // exp(s_i - sums_i), which is nearly 1
  Tensor rest_from;  // exp(sums_j - s_j)
  Tensor mask;       // [rows, chunks, 1, q, q]: 0 where token j reaches token i, -inf elsewhere
  Tensor enter;      // [rows, chunks, Hs, q]: exp(s_i), the entering state's share in token i
  Tensor leave;      // [rows, chunks, Hs, q]: exp(s_q - s_j), token j's share in the leaving state

  // exp(s_q), the entering state's share in the leaving one: [rows, chunks, Hs].
  Tensor carry() const { return enter.select(-1, enter.size(-1) - 1); }
};

Chunks read_chunks(const SsdInputs& in, const SsdPass& p) {
  const at::ScalarType type = in.dt.scalar_type();
  Chunks k;
  k.x = by_heads(in.x, p, type);
  k.dt = dense(tokens_of(in.dt, p).transpose(2, 3), type);
  k.u = k.x * k.dt.unsqueeze(-2);
  k.b = dense(tokens_of(in.b, p).transpose(2, 3), type);
  k.c = dense(tokens_of(in.c, p).transpose(2, 3), type);
  const Tensor steps = k.dt.to(at::kDouble) * in.a.to(at::kDouble).unsqueeze(-1);
  const Tensor s = at::cumsum(steps.clamp_min(kForgotten), -1);
  k.sums = s.to(type);
  const Tensor rest = (s - k.sums).to(type);
  k.rest_to = rest.exp();
  k.rest_from = rest.neg().exp_();

  // [rows, chunks, q]: in which document of its chunk a token is; 0 is that of the entering state.
  const Tensor documents = tokens_of(in.starts, p).cumsum(-1, at::kLong);
  const Tensor reaches = (documents.unsqueeze(-1) == documents.unsqueeze(-2)).tril();
  k.mask = at::zeros(reaches.sizes(), in.dt.options())
               .masked_fill_(reaches.logical_not(), kNever)
               .unsqueeze(2);
  k.enter = s.masked_fill((documents != 0).unsqueeze(2), kNever).to(type).exp_();
  const Tensor last = documents.narrow(-1, p.length - 1, 1);
  k.leave = (s.narrow(-1, p.length - 1, 1) - s)
                .masked_fill_((documents != last).unsqueeze(2), kNever)
                .to(type)
                .exp_();
  return k;
}

// exp(sums_i - sums_j) where j reaches i, else 0: [rows, chunks, Hs, q, q].
Tensor decays(const Chunks& k) {
  return (k.sums.unsqueeze(-1) - k.sums.unsqueeze(-2)).add_(k.mask).exp_();
}

// [rows, chunks, Hs, ..] -> [rows, chunks, G, Hs / G, ..].
Tensor split_groups(const Tensor& t, const Chunks& k) {
  return t.unflatten(2, {k.b.size(2), t.size(2) / k.b.size(2)});
}

// t [rows, chunks, Hs, P, n] -> [rows, chunks, G, (Hs / G) P, n]: one matrix per group.
Tensor stack_heads(const Tensor& t, const Chunks& k) { return split_groups(t, k).flatten(3, 4); }

// And back.
Tensor unstack_heads(const Tensor& t, const Chunks& k) {
  return t.unflatten(3, {k.x.size(2) / k.b.size(2), k.x.size(3)}).flatten(2, 3);
}

// t [rows, chunks, Hs, P, q] times matrix [rows, chunks, G, q, N] of each head's group.
Tensor times_group(const Tensor& t, const Tensor& matrix, const Chunks& k) {
  return unstack_heads(at::matmul(stack_heads(t, k), matrix), k);
}

}  // namespace

std::vector<SsdPass> ssd_passes(const SsdInputs& in, int64_t chunk_size) {
  const int64_t limit_bytes = in.x.is_cpu() ? kSsdPassBytes : kSsdPassBytesOnGpu;
  const int64_t batch = in.x.size(0), time = in.x.size(1);
  const int64_t width = in.x.size(3), states = in.b.size(3), length = std::min(chunk_size, time);
  const int64_t largest = std::max(length * length, width * std::max(length, states));
  const int64_t chunk_bytes = in.x.size(2) * largest * in.dt.element_size();
  const int64_t at_once = std::max<int64_t>(limit_bytes / chunk_bytes, 1);
  const int64_t rows = std::min(at_once, batch), whole = time / length;
  std::vector<SsdPass> passes;
  for (int64_t row = 0; row < batch; row += rows) {
    SsdPass p{row, std::min(rows, batch - row), 0, 0, 1, length};
    const int64_t most = std::max<int64_t>(at_once / p.rows, 1);
    for (p.chunk = 0; p.chunk < whole; p.chunk += p.chunks) {
      p.first = p.chunk * length;
      p.chunks = std::min(most, whole - p.chunk);
      passes.push_back(p);
    }
    if (whole * length < time) {
      passes.push_back({row, p.rows, whole * length, whole, 1, time - whole * length});
    }
  }
  return passes;
}

Tensor ssd_forward(const SsdInputs& in, const SsdPass& pass, const Tensor& y, Tensor& state) {
  const Chunks k = read_chunks(in, pass);
  const Tensor products = at::matmul(k.c, k.b.transpose(-1, -2));  // [rows, chunks, G, q, q]
  const Tensor m = decays(k);
  split_groups(m, k).mul_(products.unsqueeze(3));
  const Tensor out = at::matmul(k.u * k.rest_from.unsqueeze(-2), m.transpose(-1, -2));
  out.mul_(k.rest_to.unsqueeze(-2));

  // [rows, chunks, Hs, P, N]: first what the chunks add to the state, then what enters them.
  const Tensor entering = times_group(k.u * k.leave.unsqueeze(-2), k.b, k).contiguous();
  state = state.contiguous();
  pass_states(entering, k.carry(), state);
  out.addcmul_(times_group(entering, k.c.transpose(-1, -2), k), k.enter.unsqueeze(-2));
  out.addcmul_(k.x, in.d.unsqueeze(-1).unsqueeze(-1));
  tokens_of(y, pass).copy_(out.permute({0, 1, 4, 2, 3}));
  return entering;
}

namespace {

// The gradient of dt_t a, [rows, chunks, Hs, q]: all that decays over token t, which is what goes
// from a token before t or the entering state to t, a later token or the leaving state. Written as
// these sums, rather than as differences of longer ones, nothing cancels, and documents that token
// t separates give exactly 0.
//   within [rows, chunks, Hs, q, q]: what goes from j to i, overwritten
//   entered, left [rows, chunks, Hs, q]: from the entering state to i; from j to the leaving state
//   through [rows, chunks, Hs, 1]: from state to state
Tensor decay_gradient(Tensor& within, const Tensor& entered, const Tensor& left,
                      const Tensor& through) {
  const int64_t length = entered.size(-1);
  const Tensor da = entered.flip(-1).cumsum(-1).flip(-1) + through;
  // Up to token j, to any later token or the leaving state.
  const Tensor over = within.cumsum_(-1).tril_(-1).sum(-2) + left.cumsum(-1);
  da.narrow(-1, 1, length - 1).add_(over.narrow(-1, 0, length - 1));
  return da;
}

}  // namespace

void ssd_backward(const SsdInputs& in, const SsdPass& pass, const Tensor& entering_states,
                  const Tensor& grad, Tensor& dstate, const SsdGradients& gradients) {
  const Chunks k = read_chunks(in, pass);
  const Tensor dy = by_heads(grad, pass, k.dt.scalar_type());
  const Tensor entering = entering_states.contiguous();

  // Inside the chunks: dG = dM times the decays, summed over the heads of a group for dB and dC.
  const Tensor products = at::matmul(k.c, k.b.transpose(-1, -2));
  const Tensor m = decays(k);
  const Tensor dy_to = dy * k.rest_to.unsqueeze(-2), rest_from = k.rest_from.unsqueeze(-2);
  Tensor within = at::matmul(dy_to.transpose(-1, -2), k.u * rest_from).mul_(m);
  split_groups(m, k).mul_(products.unsqueeze(3));
  const Tensor du = at::matmul(dy_to, m).mul_(rest_from);
  const Tensor dproducts = split_groups(within, k).sum(3);
  split_groups(within, k).mul_(products.unsqueeze(3));  // dM * M

  // Through the states, chunk by chunk from the last.
  const Tensor dy_enter = dy * k.enter.unsqueeze(-2);
  // [rows, chunks, Hs, P, N]: first what the chunks add to it, then the gradient of what leaves
  // them.
  const Tensor leaving = times_group(dy_enter, k.c, k).contiguous();
  dstate = dstate.contiguous();
  const Tensor through = pass_state_gradients(leaving, k.carry(), entering, dstate);
  const Tensor du_leave =
      times_group(leaving, k.b.transpose(-1, -2), k).mul_(k.leave.unsqueeze(-2));
  du.add_(du_leave);
  const Tensor entered = (dy_enter * times_group(entering, k.c.transpose(-1, -2), k)).sum(-2);
  const Tensor left = (k.u * du_leave).sum(-2);
  const Tensor da = decay_gradient(within, entered, left, through.unsqueeze(-1));

  const auto over_group = [&](const Tensor& t, const Tensor& state) {  // sums over Hs / G and P
    return at::matmul(stack_heads(t, k).transpose(-1, -2), stack_heads(state, k));
  };
  const Tensor dc = at::matmul(dproducts, k.b).add_(over_group(dy_enter, entering));
  const Tensor db = at::matmul(dproducts.transpose(-1, -2), k.c)
                        .add_(over_group(k.u * k.leave.unsqueeze(-2), leaving));
  const auto write = [&](const Tensor& to, const Tensor& value, at::IntArrayRef order) {
    tokens_of(to, pass).copy_(value.permute(order));
  };
  write(gradients.c, dc, {0, 1, 3, 2, 4});
  write(gradients.b, db, {0, 1, 3, 2, 4});
  write(gradients.dt, (k.x * du).sum(-2).addcmul_(da, in.a.unsqueeze(-1)), {0, 1, 3, 2});
  write(gradients.da, k.dt * da, {0, 1, 3, 2});
  write(gradients.dd, (k.x * dy).sum(-2), {0, 1, 3, 2});
  du.mul_(k.dt.unsqueeze(-2)).addcmul_(dy, in.d.unsqueeze(-1).unsqueeze(-1));
  write(gradients.x, du, {0, 1, 4, 2, 3});
}

}  // namespace weft::internal
