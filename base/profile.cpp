#include "base/profile.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>
#include <nlohmann/json.hpp>

#include "base/check.h"

namespace weft {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

struct Event {
  int name;  // in State::names
  WorkKind kind;
  uint64_t thread;
  double start, seconds, own_seconds;  // since the profile's start; own: without what it called
  Work work;
};

// A call that has not ended.
struct Frame {
  std::string name;
  WorkKind kind;
  Work work;
  bool whole_work;  // counts even if it calls others
  Clock::time_point start;
  double called_seconds = 0;
  bool calls_work = false;  // others that have work
};

thread_local std::vector<Frame> frames;

// LibTorch's operators by what they do; a trailing "_" (in place) is left out. Views and
// allocations are not here.
const std::unordered_map<std::string_view, WorkKind>& operator_kinds() {
  using enum WorkKind;
  static const std::unordered_map<std::string_view, WorkKind> kinds = [] {
    std::unordered_map<std::string_view, WorkKind> all;
    const auto add = [&](WorkKind kind, std::initializer_list<std::string_view> names) {
      for (const std::string_view name : names) all.emplace(name, kind);
    };
    add(kProduct, {"mm", "addmm", "bmm", "baddbmm", "linear", "matmul", "mv", "addmv", "dot"});
    add(kAttention,
        {"scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu",
         "_scaled_dot_product_flash_attention_for_cpu_backward",
         "_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_backward",
         "_scaled_dot_product_efficient_attention",
         "_scaled_dot_product_efficient_attention_backward", "_flash_attention_forward",
         "_flash_attention_backward"});
    add(kConvolution,
        {"conv1d", "convolution", "_convolution", "convolution_backward", "mkldnn_convolution"});
    add(kNorm, {"native_layer_norm", "native_layer_norm_backward", "layer_norm", "_fused_rms_norm",
                "_fused_rms_norm_backward"});
    add(kElementwise, {"mul",
                       "add",
                       "sub",
                       "div",
                       "rsub",
                       "silu",
                       "gelu",
                       "sigmoid",
                       "tanh",
                       "exp",
                       "log",
                       "pow",
                       "sqrt",
                       "rsqrt",
                       "neg",
                       "abs",
                       "where",
                       "clamp",
                       "sum",
                       "mean",
                       "amax",
                       "max",
                       "min",
                       "cumsum",
                       "softmax",
                       "_softmax",
                       "log_softmax",
                       "_log_softmax",
                       "softplus",
                       "addcmul",
                       "addcdiv",
                       "lt",
                       "gt",
                       "ge",
                       "le",
                       "eq",
                       "ne",
                       "isfinite",
                       "norm",
                       "linalg_vector_norm",
                       "silu_backward",
                       "gelu_backward",
                       "sigmoid_backward",
                       "_softmax_backward_data",
                       "masked_fill",
                       "topk",
                       "sort",
                       "logsumexp",
                       "lerp",
                       "square",
                       "reciprocal",
                       "_foreach_mul",
                       "_foreach_norm",
                       "dropout",
                       "native_dropout"});
    add(kCopy, {"copy",
                "clone",
                "cat",
                "_to_copy",
                "index",
                "index_select",
                "index_add",
                "index_put",
                "_index_put_impl",
                "index_copy",
                "gather",
                "scatter",
                "scatter_add",
                "fill",
                "zero",
                "flip",
                "roll",
                "embedding",
                "embedding_dense_backward",
                "stack",
                "repeat",
                "constant_pad_nd",
                "masked_select",
                "nonzero",
                "arange"});
    add(kLoss, {"nll_loss_forward", "nll_loss_backward", "cross_entropy_loss", "nll_loss_nd"});
    return all;
  }();
  return kinds;
}

bool has_work(WorkKind kind) { return kind != WorkKind::kAutograd && kind != WorkKind::kOther; }

std::string_view bare_name(std::string_view name) {
  if (const size_t colon = name.rfind("::"); colon != name.npos) name.remove_prefix(colon + 2);
  if (name.ends_with('_') && !name.ends_with("__")) name.remove_suffix(1);
  return name;
}

WorkKind kind_of(const at::RecordFunction& call) {
  if (call.scope() == at::RecordScope::BACKWARD_FUNCTION) return WorkKind::kAutograd;
  const std::string_view name = call.name();
  if (name.starts_with("autograd::")) return WorkKind::kAutograd;
  const auto found = operator_kinds().find(bare_name(name));
  return found == operator_kinds().end() ? WorkKind::kOther : found->second;
}

double bytes_of(const c10::IValue& value) {
  if (value.isTensor()) {
    const at::Tensor& t = value.toTensor();
    return t.defined() ? static_cast<double>(t.numel()) * static_cast<double>(t.element_size()) : 0;
  }
  double sum = 0;
  if (value.isTensorList()) {
    for (const at::Tensor& t : value.toTensorVector()) sum += bytes_of(t);
  }
  return sum;
}

template <class Values>
double bytes_of_all(const Values& values) {
  double sum = 0;
  for (const c10::IValue& value : values) sum += bytes_of(value);
  return sum;
}

// Of a product or an attention, from its operands.
double flops_of(std::string_view name, c10::ArrayRef<const c10::IValue> inputs) {
  const auto tensor = [&](size_t i) {
    return i < inputs.size() && inputs[i].isTensor() ? inputs[i].toTensor() : at::Tensor{};
  };
  const bool added = name == "addmm" || name == "baddbmm";
  if (added || name == "mm" || name == "bmm") {
    const at::Tensor a = tensor(added ? 1 : 0), b = tensor(added ? 2 : 1);
    if (!a.defined() || !b.defined()) return 0;
    return 2.0 * static_cast<double>(a.numel()) * static_cast<double>(b.size(-1));
  }
  const bool backward = name.ends_with("_backward");
  if (name.starts_with("_scaled_dot_product")) {  // two products, five backward; half is masked
    const at::Tensor q = tensor(backward ? 1 : 0), k = tensor(backward ? 2 : 1);
    if (!q.defined() || !k.defined()) return 0;
    const double product = static_cast<double>(q.numel()) * static_cast<double>(k.size(-2));
    return (backward ? 5 : 2) * product;
  }
  return 0;
}

}  // namespace

struct Profile::State {
  const Clock::time_point made = Clock::now();
  Clock::time_point started;
  double seconds = 0;
  at::CallbackHandle handle = at::INVALID_CALLBACK_HANDLE;
  std::mutex mutex;  // of all below
  std::vector<Event> events;
  std::vector<std::string> names;
  std::unordered_map<std::string, int> name_numbers;

  void add(const Frame& frame, Clock::time_point now) {
    const double seconds = seconds_between(frame.start, now);
    const bool counts = frame.whole_work || !frame.calls_work;
    const std::lock_guard lock(mutex);
    const auto [entry, is_new] = name_numbers.emplace(frame.name, static_cast<int>(names.size()));
    if (is_new) names.push_back(frame.name);
    events.push_back({entry->second, frame.kind, at::RecordFunction::currentThreadId(),
                      seconds_between(made, frame.start), seconds, seconds - frame.called_seconds,
                      counts ? frame.work : Work{}});
  }
};

namespace {

std::atomic<Profile::State*> taken = nullptr;

void begin(std::string name, WorkKind kind, const Work& work, bool whole_work) {
  frames.push_back({std::move(name), kind, work, whole_work, Clock::now()});
}

void finish(double more_bytes) {
  if (frames.empty()) return;  // it began before the profile
  const Clock::time_point now = Clock::now();
  Frame frame = std::move(frames.back());
  frames.pop_back();
  frame.work.bytes += more_bytes;
  if (!frames.empty()) {
    frames.back().called_seconds += seconds_between(frame.start, now);
    frames.back().calls_work |= frame.calls_work || has_work(frame.kind);
  }
  if (Profile::State* state = taken.load()) state->add(frame, now);
}

std::unique_ptr<at::ObserverContext> on_begin(const at::RecordFunction& call) {
  const WorkKind kind = kind_of(call);
  Work work;
  if (has_work(kind)) {
    work = {flops_of(bare_name(call.name()), call.inputs()), bytes_of_all(call.inputs())};
  }
  // A product may have its operands copied; it calls no other product.
  begin(call.name(), kind, work, /*whole_work=*/work.flops > 0);
  return nullptr;
}

void on_end(const at::RecordFunction& call, at::ObserverContext*) {
  const bool works = !frames.empty() && has_work(frames.back().kind);
  finish(works ? bytes_of_all(call.outputs()) : 0);
}

}  // namespace

const char* name_of(WorkKind kind) {
  static constexpr std::array<const char*, kWorkKinds> kNames = {
      "matrix products", "attention",       "scans",          "convolutions",
      "norms",           "elementwise",     "copies",         "loss",
      "optimizer",       "autograd itself", "other operators"};
  return kNames[static_cast<size_t>(kind)];
}

Profile::Profile() : state_(std::make_unique<State>()) {}

Profile::~Profile() { stop(); }

void Profile::start() {
  State* expected = nullptr;
  WEFT_CHECK(taken.compare_exchange_strong(expected, state_.get()), "a profile is being taken");
  frames.clear();
  state_->started = Clock::now();
  state_->handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(on_begin, on_end)
          .needsInputs(true)
          .needsOutputs(true)
          .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
}

void Profile::stop() {
  if (state_->handle == at::INVALID_CALLBACK_HANDLE) return;
  at::removeCallback(state_->handle);
  state_->handle = at::INVALID_CALLBACK_HANDLE;
  state_->seconds += seconds_between(state_->started, Clock::now());
  taken = nullptr;
}

double Profile::seconds() const { return state_->seconds; }

std::vector<WorkSum> Profile::sums() const {
  std::vector<WorkSum> sums(kWorkKinds);
  for (int i = 0; i < kWorkKinds; ++i) sums[i].kind = static_cast<WorkKind>(i);
  for (const Event& event : state_->events) {
    WorkSum& sum = sums[static_cast<size_t>(event.kind)];
    sum.seconds += event.own_seconds;
    sum.calls += 1;
    sum.work.flops += event.work.flops;
    sum.work.bytes += event.work.bytes;
  }
  return sums;
}

absl::Status Profile::write_chrome_trace(const fs::path& path) const {
  WEFT_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  WEFT_RETURN_IF_ERROR(file.write("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n"));
  const char* separator = "";
  for (const Event& event : state_->events) {
    const nlohmann::json line = {
        {"name", state_->names[static_cast<size_t>(event.name)]},
        {"cat", name_of(event.kind)},
        {"ph", "X"},
        {"pid", 0},
        {"tid", event.thread},
        {"ts", event.start * 1e6},
        {"dur", event.seconds * 1e6},
        {"args", {{"flops", event.work.flops}, {"bytes", event.work.bytes}}}};
    WEFT_RETURN_IF_ERROR(file.write(separator + line.dump()));
    separator = ",\n";
  }
  WEFT_RETURN_IF_ERROR(file.write("\n]}\n"));
  return file.commit();
}

ProfileSpan::ProfileSpan(const char* name, WorkKind kind, const Work& work)
    : active_(taken.load(std::memory_order_relaxed) != nullptr) {
  if (active_) begin(name, kind, work, /*whole_work=*/true);
}

ProfileSpan::~ProfileSpan() {
  if (active_) finish(0);
}

}  // namespace weft
