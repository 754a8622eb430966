#include "models/kernels/host_stash.h"

#include <cstring>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include "base/check.h"

#ifdef WEFT_CUDA
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace weft {

// All device memory is of the current stream's, and let go only once that stream waits for the
// copies from and to it: so it is free for whatever the stream runs next, however far the program
// is ahead of the GPU.
struct HostStash::Entry {
  at::TensorOptions options;
  Tensor host;    // pinned where the tensor is a GPU's
  Tensor device;  // until the next one is put there, and again once it is on its way back
#ifdef WEFT_CUDA
  at::cuda::CUDAEvent is_out, is_back;
#endif
};

struct HostStash::Entries {
  std::vector<std::unique_ptr<Entry>> all;  // null once taken
#ifdef WEFT_CUDA
  // One for each way.
  struct Streams {
    explicit Streams(at::Device device)
        : out(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())),
          back(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {}
    c10::cuda::CUDAStream out, back;
  };
  std::unique_ptr<Streams> streams;
#endif
};

namespace {

#ifdef WEFT_CUDA
// What `stream` runs from now on waits for what the current one has been given so far.
void wait_for_current(const c10::cuda::CUDAStream& stream) {
  at::cuda::CUDAEvent event;
  event.record();
  event.block(stream);
}
#endif

// As t, in memory that a GPU can copy from and to by itself.
Tensor empty_in_host(const Tensor& t) {
  try {
    return at::empty(t.sizes(), t.options().device(at::kCPU).pinned_memory(t.is_cuda()));
  } catch (const c10::Error& error) {
    if (!t.is_cuda() || std::strstr(error.what(), "out of memory") == nullptr) throw;
  }
  throw HostMemoryError(static_cast<int64_t>(t.nbytes()));
}

}  // namespace

HostMemoryError::HostMemoryError(int64_t bytes)
    : std::runtime_error("no pinned memory for " + std::to_string(bytes) + " bytes") {}

HostStash::HostStash() : entries_(std::make_unique<Entries>()) {}

HostStash::~HostStash() {
  for (const std::unique_ptr<Entry>& entry : entries_->all) {
    if (entry == nullptr || !entry->device.defined()) continue;
    try {
      let_go(*entry);
    } catch (const c10::Error&) {  // a GPU that failed before, and reports it to whoever asks next
    }
  }
}

// Drops the device's tensor: REQUIRES that there is one.
void HostStash::let_go(Entry& entry) {
#ifdef WEFT_CUDA
  if (entry.options.device().is_cuda()) {
    const c10::cuda::CUDAGuard guard(entry.options.device());
    const c10::cuda::CUDAStream current = c10::cuda::getCurrentCUDAStream();
    entry.is_out.block(current);
    if (entry.is_back.isCreated()) entry.is_back.block(current);
  }
#endif
  entry.device = Tensor();
}

void HostStash::copy_out(Entry& entry) {
#ifdef WEFT_CUDA
  if (entry.options.device().is_cuda()) {
    const c10::cuda::CUDAGuard guard(entry.options.device());
    if (entries_->streams == nullptr) {
      entries_->streams = std::make_unique<Entries::Streams>(entry.options.device());
    }
    const c10::cuda::CUDAStream& out = entries_->streams->out;
    wait_for_current(out);
    const c10::cuda::CUDAStreamGuard on_stream(out);
    entry.host.copy_(entry.device, /*non_blocking=*/true);
    entry.is_out.record(out);
    return;
  }
#endif
  WEFT_CHECK(entry.device.is_cpu(), "no host_stash for tensors on ", entry.device.device());
  entry.host.copy_(entry.device);
}

void HostStash::copy_back(Entry& entry) {
  if (entry.device.defined()) return;
#ifdef WEFT_CUDA
  if (entry.options.device().is_cuda()) {
    const c10::cuda::CUDAGuard guard(entry.options.device());
    entry.device = at::empty(entry.host.sizes(), entry.options);
    const c10::cuda::CUDAStream& back = entries_->streams->back;
    wait_for_current(back);  // which waits for is_out
    const c10::cuda::CUDAStreamGuard on_stream(back);
    entry.device.copy_(entry.host, /*non_blocking=*/true);
    entry.is_back.record(back);
    return;
  }
#endif
  entry.device = entry.host;
}

size_t HostStash::put(const Tensor& t) {
  if (!entries_->all.empty() && entries_->all.back() != nullptr &&
      entries_->all.back()->device.defined()) {
    let_go(*entries_->all.back());
  }
  auto entry = std::make_unique<Entry>();
  entry->options = t.options();
  entry->host = empty_in_host(t);
  entry->device = t.detach().contiguous();
  copy_out(*entry);
  entries_->all.push_back(std::move(entry));
  return entries_->all.size() - 1;
}

Tensor HostStash::take(size_t place) {
  WEFT_CHECK(place < entries_->all.size() && entries_->all[place] != nullptr,
             "host_stash has nothing at ", place);
  const std::unique_ptr<Entry> entry = std::move(entries_->all[place]);
  copy_back(*entry);
  const Tensor t = entry->device;
  let_go(*entry);
  if (place > 0 && entries_->all[place - 1] != nullptr) copy_back(*entries_->all[place - 1]);
  return t;
}

}  // namespace weft
