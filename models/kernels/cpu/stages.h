#pragma once
// Work on LibTorch's threads in stages with a barrier between them: where stages take microseconds,
// starting and joining threads for each of them would take as long again.
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace weft::cpu {

class Stages final {
 public:
  // The rows begin .. end - 1 of a stage, on thread 0 <= `thread` < max_threads(). Called any
  // number of times a thread. It throws nothing and starts no threads.
  using Part = std::function<void(int64_t thread, int64_t begin, int64_t end)>;

  // Most threads that take part: one within another parallel region.
  static int64_t max_threads();

  // A stage of `rows` rows that reads `row_bytes` of memory for each, one behind the other. It
  // begins once the stages before it are done, and runs its rows in any order.
  void add(int64_t rows, int64_t row_bytes, Part part);

  // Runs all of them. Where a stage is long every thread takes its share from the front, half of
  // what is left of it at a time, and then steals from the ends of others: threads rarely start
  // together, nor read equally fast. Little work stays on few threads.
  void run() const;

 private:
  struct Stage {
    int64_t rows, rows_per_task, tasks;
    Part part;
  };
  std::vector<Stage> stages_;
  int64_t bytes_ = 0;  // of the stage that reads most
};

// Work that is done again and again in stages, on the same memory.
class StagedWork {
 public:
  StagedWork() = default;
  StagedWork(const StagedWork&) = delete;
  StagedWork& operator=(const StagedWork&) = delete;
  virtual ~StagedWork() = default;

  // The stages that do it once. They refer to this object, and are run before more are added.
  virtual void add_to(Stages& stages) = 0;

  void run() {
    Stages stages;
    add_to(stages);
    stages.run();
  }
};

using StagedWorkPtr = std::unique_ptr<StagedWork>;

}  // namespace weft::cpu
