#include "trainer/run_data.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

DataProgress progress_bar(Log& log) {
  return [&log](const std::string& source, int64_t done, int64_t total) {
    const int64_t percent = total > 0 ? 100 * done / total : 100;
    log.transient(absl::StrCat("tokenizing ", source, ": ", percent, " %"));
    if (done >= total) {
      log.transient("");
      log.info("tokenized ", source, ": ", total, " bytes");
    }
  };
}

}  // namespace

fs::path cache_folder() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (const std::string own = variable("WEFT_CACHE"); !own.empty()) return own;
  if (const std::string xdg = variable("XDG_CACHE_HOME"); !xdg.empty())
    return fs::path(xdg) / "weft";
  if (const std::string home = variable("HOME"); !home.empty()) {
    return fs::path(home) / ".cache" / "weft";
  }
  return fs::path(".cache") / "weft";
}

absl::StatusOr<std::vector<StageData>> open_data(const Recipe& recipe, const fs::path& cache,
                                                 Log& log) {
  std::vector<StageData> stages;
  const int64_t vocab_size = *recipe.model.vocab_size;
  const DataProgress progress = progress_bar(log);
  for (const StageConfig& stage : recipe.stages) {
    const Tokenizer tokenizer(stage.data.tokenizer);
    StageData data;
    for (const SourceConfig& source : stage.data.sources) {
      WEFT_ASSIGN_OR_RETURN(TokenShards shards, open_source(source.path, tokenizer, vocab_size,
                                                            cache / "tokens", progress));
      data.sources.push_back({source.path, source.weight, std::move(shards)});
    }
    for (const ValidationSourceConfig& source : stage.data.validation) {
      WEFT_ASSIGN_OR_RETURN(TokenShards shards, open_source(source.path, tokenizer, vocab_size,
                                                            cache / "tokens", progress));
      data.validation.push_back({source.name, std::move(shards)});
    }
    stages.push_back(std::move(data));
  }
  return stages;
}

}  // namespace weft
