#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <stop_token>
#include <thread>

#include "base/check.h"

namespace weft {
namespace {

constexpr size_t kStepsAhead = 4;

}  // namespace

struct Loader::Impl {
  SequenceOrder order;
  int64_t sequences;
  int64_t micro_sequences;
  int64_t first_step;
  int64_t end_step;
  int64_t next_step = first_step;  // of the caller

  std::mutex mutex{};
  std::condition_variable_any changed{};
  std::deque<std::vector<Batch>> ready{};
  std::exception_ptr failure{};
  std::jthread thread{};  // last: it ends before what it uses goes

  void run(const std::stop_token& stop);
  std::vector<Batch> prepare(int64_t step, const std::stop_token& stop) const;
};

std::vector<Batch> Loader::Impl::prepare(int64_t step, const std::stop_token& stop) const {
  std::vector<Batch> batches;
  for (int64_t row = 0; row < sequences && !stop.stop_requested(); row += micro_sequences) {
    const int64_t count = std::min(micro_sequences, sequences - row);
    batches.push_back(order.rows(step * sequences + row, count));
  }
  return batches;
}

void Loader::Impl::run(const std::stop_token& stop) {
  for (int64_t step = first_step; step < end_step; ++step) {
    std::vector<Batch> batches = prepare(step, stop);
    std::unique_lock lock(mutex);
    changed.wait(lock, stop, [&] { return ready.size() < kStepsAhead; });
    if (stop.stop_requested()) return;
    ready.push_back(std::move(batches));
    changed.notify_all();
  }
}

Loader::Loader(SequenceOrder order, int64_t sequences, int64_t micro_sequences, int64_t first_step,
               int64_t end_step) {
  WEFT_CHECK(sequences >= 1 && micro_sequences >= 1, "steps of ", sequences, " sequences, ",
             micro_sequences, " at a time");
  WEFT_CHECK(0 <= first_step && first_step <= end_step, "steps ", first_step, " to ", end_step);
  impl_.reset(new Impl{std::move(order), sequences, micro_sequences, first_step, end_step});
  impl_->thread = std::jthread([impl = impl_.get()](const std::stop_token& stop) {
    try {
      impl->run(stop);
    } catch (...) {
      const std::scoped_lock lock(impl->mutex);
      impl->failure = std::current_exception();
      impl->changed.notify_all();
    }
  });
}

Loader::~Loader() = default;

std::vector<Batch> Loader::next() {
  WEFT_CHECK(impl_->next_step < impl_->end_step, "step ", impl_->next_step, " of ",
             impl_->end_step);
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait(lock, [&] { return !impl_->ready.empty() || impl_->failure; });
  if (impl_->ready.empty()) std::rethrow_exception(impl_->failure);
  std::vector<Batch> batches = std::move(impl_->ready.front());
  impl_->ready.pop_front();
  ++impl_->next_step;
  impl_->changed.notify_all();
  return batches;
}

}  // namespace weft
