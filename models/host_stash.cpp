#include "models/host_stash.h"

#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include "base/check.h"

#ifdef WEFT_CUDA
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace weft {

struct HostStash::Entry {
  at::TensorOptions options;
  Tensor host;    // pinned where the tensor is a GPU's
  Tensor device;  // once it is on its way back
#ifdef WEFT_CUDA
  at::cuda::CUDAEvent is_out, is_back;
#endif
};

struct HostStash::Entries {
  std::vector<std::unique_ptr<Entry>> all;  // null once taken
};

#ifdef WEFT_CUDA
namespace {

// One for each way, the same for all stashes.
struct Streams {
  c10::cuda::CUDAStream out, back;
};

const Streams& streams() {
  static const Streams streams{c10::cuda::getStreamFromPool(), c10::cuda::getStreamFromPool()};
  return streams;
}

// What `stream` runs from now on waits for what the current one has been given so far.
void wait_for_current(const c10::cuda::CUDAStream& stream) {
  at::cuda::CUDAEvent event;
  event.record();
  event.block(stream);
}

}  // namespace
#endif

HostStash::HostStash() : entries_(std::make_unique<Entries>()) {}
HostStash::~HostStash() = default;

std::unique_ptr<HostStash::Entry> HostStash::make_entry(const Tensor& t) {
  auto entry = std::make_unique<Entry>();
  entry->options = t.options();
  entry->host = at::empty(t.sizes(), t.options().device(at::kCPU).pinned_memory(t.is_cuda()));
#ifdef WEFT_CUDA
  if (t.is_cuda()) {
    const c10::cuda::CUDAStream& out = streams().out;
    wait_for_current(out);
    const c10::cuda::CUDAStreamGuard guard(out);
    entry->host.copy_(t, /*non_blocking=*/true);
    t.record_stream(out);
    entry->is_out.record(out);
    return entry;
  }
#endif
  WEFT_CHECK(t.is_cpu(), "no host_stash for tensors on ", t.device());
  entry->host.copy_(t);
  return entry;
}

void HostStash::fetch(Entry& entry) {
  if (entry.device.defined()) return;
#ifdef WEFT_CUDA
  if (entry.options.device().is_cuda()) {
    const c10::cuda::CUDAStream& back = streams().back;
    const c10::cuda::CUDAStreamGuard guard(back);
    entry.is_out.block(back);
    entry.device = at::empty(entry.host.sizes(), entry.options);
    entry.device.copy_(entry.host, /*non_blocking=*/true);
    entry.is_back.record(back);
    return;
  }
#endif
  entry.device = entry.host;
}

size_t HostStash::put(const Tensor& t) {
  entries_->all.push_back(make_entry(t.detach()));
  return entries_->all.size() - 1;
}

Tensor HostStash::take(size_t place) {
  WEFT_CHECK(place < entries_->all.size() && entries_->all[place] != nullptr,
             "host_stash has nothing at ", place);
  const std::unique_ptr<Entry> entry = std::move(entries_->all[place]);
  fetch(*entry);
  if (place > 0 && entries_->all[place - 1] != nullptr) fetch(*entries_->all[place - 1]);
#ifdef WEFT_CUDA
  if (entry->device.is_cuda()) {
    const c10::cuda::CUDAStream current = c10::cuda::getCurrentCUDAStream();
    entry->is_back.block(current);
    entry->device.record_stream(current);
  }
#endif
  return entry->device;
}

}  // namespace weft
