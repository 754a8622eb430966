#pragma once
// Batches as a pure function of (seed, step). sequence_order.cpp's top comment
// describes the order of data, docs/data.md the whole.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/schema.h"
#include "base/status.h"
#include "data/batch.h"
#include "data/shards.h"
#include "data/tokenizers/tokenizer.h"

namespace weft {

struct SourceConfig {
  std::string path;
  double weight = 1.0;
  static void describe(auto& self, auto& schema) {
    schema.field(
        "path", self.path, required(not_empty()),
        "folder of .txt (a file = a document), a .txt file, or the prefix of a .bin/.idx pair");
    schema.field("weight", self.weight, above(0),
                 "share of the sequences, relative to the other sources");
  }
};

struct ValidationSourceConfig {
  std::string name;
  std::string path;
  static void describe(auto& self, auto& schema) {
    schema.field("name", self.name, required(not_empty()),
                 "name of the metrics: validation.<name>.loss");
    schema.field("path", self.path, required(not_empty()), "as in sources");
  }
};

struct DataConfig {
  TokenizerConfig tokenizer;
  std::vector<SourceConfig> sources;
  std::vector<ValidationSourceConfig> validation;
  static void describe(auto& self, auto& schema) {
    schema.field("tokenizer", self.tokenizer, any(), "how text becomes token ids");
    schema.field("sources", self.sources, required(not_empty()), "what is trained on");
    schema.field("validation", self.validation, any(), "what is evaluated, never trained on");
  }
};

// Checks that need more than one value: duplicate names and paths are errors, a validation source
// that is trained on too is a warning.
void validate(const DataConfig& config, Problems& problems);

// One source of tokens, open and checked.
struct DataSource {
  std::string name;  // its path
  double weight = 1.0;
  TokenShards shards;
};

// Random access to the sequences of a stage: sequence `index` (0-based, any size: sources repeat
// with a new order each epoch) as T tokens with targets, documents and positions.
class SequenceOrder final {
 public:
  // `stage` is part of what the order depends on, with the seed and the source's place in the list.
  // REQUIRES: at least one source, each with text; 1 <= sequence_length.
  SequenceOrder(std::vector<DataSource> sources, int64_t sequence_length, uint64_t seed,
                std::string stage);
  ~SequenceOrder();
  SequenceOrder(SequenceOrder&&) noexcept;

  // Rows first .. first + count - 1 as one Batch [count, T], every target counted. Thread safe.
  Batch rows(int64_t first, int64_t count) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Prepares the micro-batches of coming steps on a background thread.
class Loader final {
 public:
  // Step `step` of the stage is rows step * sequences .. (step + 1) * sequences - 1, cut into
  // micro-batches of `micro_sequences` rows (the last may be smaller).
  Loader(SequenceOrder order, int64_t sequences, int64_t micro_sequences, int64_t first_step,
         int64_t end_step);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The micro-batches of the next step, in order; waits until they are ready. What the thread threw
  // is thrown here. REQUIRES: called at most end_step - first_step times.
  std::vector<Batch> next();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weft
