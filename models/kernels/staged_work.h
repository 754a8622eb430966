#pragma once
// Work of the CPU on the memory of tensors, done for token after token.
#include <tuple>
#include <utility>

#include "models/kernels/cpu/stages.h"

namespace weft {

// `work` (null: nothing to do), and what keeps its memory from being freed.
template <class... Owners>
cpu::StagedWorkPtr owning(cpu::StagedWorkPtr work, Owners... owners) {
  class Owning final : public cpu::StagedWork {
   public:
    Owning(cpu::StagedWorkPtr work, std::tuple<Owners...> owners)
        : owners_(std::move(owners)), work_(std::move(work)) {}
    void add_to(cpu::Stages& stages) override {
      if (work_ != nullptr) work_->add_to(stages);
    }

   private:
    const std::tuple<Owners...> owners_;
    const cpu::StagedWorkPtr work_;
  };
  return std::make_unique<Owning>(std::move(work), std::tuple<Owners...>(std::move(owners)...));
}

}  // namespace weft
