// The order of data: a function of (seed, stage, index of the sequence) alone.
//
// In each epoch of a source its documents are permuted and laid end to end as
//   [EOD text of the first] [EOD text of the second] ...
// so that the end-of-document id introduces each document and is the target of the last token of
// the one before. This stream, closed to a ring, is cut into floor(tokens / T) sequences of T
// tokens from a random place on (the fewer than T tokens left over are others in each epoch), and
// the *sequences* are permuted: neighbours of one long document would otherwise fill a batch. A
// source of fewer than T tokens gives one sequence an epoch, going round the ring. Which source
// gives which sequence of the stage says Mixture.
#include <algorithm>
#include <array>
#include <mutex>

#include "base/check.h"
#include "base/random.h"
#include "data/loader.h"
#include "data/mixture.h"
#include "data/packing.h"

namespace weft {
namespace {

// One pass over a source.
struct Epoch {
  int64_t number;
  Permutation documents;        // place in the stream -> place in SourceOrder::documents_
  std::vector<int64_t> starts;  // [documents + 1] first token of each in the stream
  Permutation sequences;        // sequence of the epoch -> cut of the stream
  int64_t first_cut;            // token at which cut 0 starts
};

// The sequences of one source. Thread safe.
class SourceOrder final {
 public:
  SourceOrder(TokenShards shards, int64_t sequence_length, uint64_t seed, std::string name);

  int32_t end_of_document() const { return shards_.end_of_document(); }
  // Tokens of sequence `index` and the one after them. out [T + 1].
  void read(int64_t index, std::span<int64_t> out) const;

 private:
  std::shared_ptr<const Epoch> epoch(int64_t number) const;
  std::shared_ptr<const Epoch> make_epoch(int64_t number) const;
  void read_stream(const Epoch& epoch, int64_t token, std::span<int64_t> out) const;

  TokenShards shards_;
  int64_t sequence_length_;
  uint64_t seed_;
  std::string name_;
  std::vector<int64_t> documents_;  // those with text
  int64_t stream_tokens_ = 0;
  int64_t epoch_sequences_ = 0;
  // Steps go through the epochs in order, so two neighbours are kept; epoch e in slot e % 2.
  mutable std::mutex mutex_;
  mutable std::array<std::shared_ptr<const Epoch>, 2> kept_;
};

SourceOrder::SourceOrder(TokenShards shards, int64_t sequence_length, uint64_t seed,
                         std::string name)
    : shards_(std::move(shards)),
      sequence_length_(sequence_length),
      seed_(seed),
      name_(std::move(name)) {
  for (int64_t document = 0; document < shards_.num_documents(); ++document) {
    const int64_t text = shards_.text_tokens(document);
    if (text == 0) continue;
    documents_.push_back(document);
    stream_tokens_ += text + 1;
  }
  WEFT_CHECK(!documents_.empty(), "source ", name_, " has no text");
  epoch_sequences_ = std::max<int64_t>(1, stream_tokens_ / sequence_length_);
}

std::shared_ptr<const Epoch> SourceOrder::make_epoch(int64_t number) const {
  const auto step = static_cast<uint32_t>(number);
  const RandomStream cuts(seed_, "data.first_cut", name_, step);
  auto epoch = std::make_shared<Epoch>(Epoch{
      .number = number,
      .documents =
          Permutation(documents_.size(), RandomStream(seed_, "data.documents", name_, step)),
      .starts = {0},
      .sequences = Permutation(static_cast<uint64_t>(epoch_sequences_),
                               RandomStream(seed_, "data.sequences", name_, step)),
      .first_cut = static_cast<int64_t>(cuts.below(0, static_cast<uint64_t>(stream_tokens_)))});
  epoch->starts.reserve(documents_.size() + 1);
  for (size_t place = 0; place < documents_.size(); ++place) {
    const int64_t text = shards_.text_tokens(documents_[epoch->documents(place)]);
    epoch->starts.push_back(epoch->starts.back() + text + 1);
  }
  return epoch;
}

std::shared_ptr<const Epoch> SourceOrder::epoch(int64_t number) const {
  const std::scoped_lock lock(mutex_);
  std::shared_ptr<const Epoch>& slot = kept_[number % 2];
  if (!slot || slot->number != number) slot = make_epoch(number);
  return slot;
}

void SourceOrder::read(int64_t index, std::span<int64_t> out) const {
  const std::shared_ptr<const Epoch> current = epoch(index / epoch_sequences_);
  const auto cut =
      static_cast<int64_t>(current->sequences(static_cast<uint64_t>(index % epoch_sequences_)));
  const int64_t token = current->first_cut + cut * sequence_length_;
  read_stream(*current, token % stream_tokens_, out);
}

void SourceOrder::read_stream(const Epoch& epoch, int64_t token, std::span<int64_t> out) const {
  const auto after = std::upper_bound(epoch.starts.begin(), epoch.starts.end(), token);
  auto place = static_cast<size_t>(after - epoch.starts.begin()) - 1;
  while (!out.empty()) {
    if (token == epoch.starts[place]) {
      out.front() = shards_.end_of_document();
      out = out.subspan(1);
      ++token;
    }
    const int64_t document = documents_[epoch.documents(place)];
    const int64_t begin = token - epoch.starts[place] - 1;
    const int64_t count =
        std::min(epoch.starts[place + 1] - token, static_cast<int64_t>(out.size()));
    shards_.read(document, begin, begin + count, out);
    out = out.subspan(static_cast<size_t>(count));
    token += count;
    if (token == epoch.starts[place + 1]) ++place;
    if (place == documents_.size()) {
      place = 0;
      token = 0;
    }
  }
}

std::vector<double> weights_of(const std::vector<DataSource>& sources) {
  std::vector<double> weights;
  for (const DataSource& source : sources) weights.push_back(source.weight);
  return weights;
}

}  // namespace

struct SequenceOrder::Impl {
  int64_t sequence_length;
  Mixture mixture;
  std::vector<std::unique_ptr<SourceOrder>> sources;
};

SequenceOrder::SequenceOrder(std::vector<DataSource> sources, int64_t sequence_length,
                             uint64_t seed, std::string stage) {
  WEFT_CHECK(sequence_length >= 1, "sequence length ", sequence_length);
  impl_ = std::make_unique<Impl>(Impl{sequence_length, Mixture(weights_of(sources)), {}});
  for (size_t i = 0; i < sources.size(); ++i) {
    impl_->sources.push_back(std::make_unique<SourceOrder>(
        std::move(sources[i].shards), sequence_length, seed, stage + "." + std::to_string(i)));
  }
}

SequenceOrder::~SequenceOrder() = default;
SequenceOrder::SequenceOrder(SequenceOrder&&) noexcept = default;

Batch SequenceOrder::rows(int64_t first, int64_t count) const {
  WEFT_CHECK(first >= 0 && count >= 0, "rows ", first, " and ", count, " on");
  const auto length = static_cast<size_t>(impl_->sequence_length);
  Batch batch = make_batch(count, impl_->sequence_length);
  auto* tokens = batch.tokens.mutable_data_ptr<int64_t>();
  auto* targets = batch.targets.mutable_data_ptr<int64_t>();
  auto* documents = batch.documents.mutable_data_ptr<int32_t>();
  auto* positions = batch.positions.mutable_data_ptr<int64_t>();
  std::vector<int64_t> sequence(length + 1);
  for (int64_t row = 0; row < count; ++row) {
    const Mixture::Place place = impl_->mixture(first + row);
    const SourceOrder& source = *impl_->sources[place.source];
    source.read(place.index, sequence);
    const size_t begin = static_cast<size_t>(row) * length;
    std::copy_n(sequence.begin(), length, tokens + begin);
    std::copy_n(sequence.begin() + 1, length, targets + begin);
    label_documents({tokens + begin, length}, source.end_of_document(), {documents + begin, length},
                    {positions + begin, length});
  }
  batch.num_targets = count * impl_->sequence_length;
  return batch;
}

}  // namespace weft
