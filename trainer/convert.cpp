#include "trainer/convert.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include <ATen/ops/empty.h>

#include "models/causal_lm.h"
#include "models/families.h"
#include "models/huggingface/export.h"
#include "recipes/load.h"
#include "trainer/end_ids.h"
#include "trainer/model_source.h"
#include "trainer/progress.h"

namespace weft {
namespace {

constexpr int64_t kImportShardBytes = 2'000'000'000;

std::function<void(int64_t, int64_t)> progress_line(const char* what, Log& log) {
  return [what, &log](int64_t done, int64_t total) {
    log.transient(absl::StrCat(what, ": ", bytes_text(done), " of ", bytes_text(total)));
  };
}

// What ends a run's documents, unless it ends texts of the source already. Ends that cannot be read
// there give way to it.
std::optional<int64_t> end_to_write(const ModelSource& source) {
  const std::optional<int64_t> end = document_end(source);
  const absl::StatusOr<std::vector<int64_t>> published = published_end_ids(source);
  if (!end.has_value() || !published.ok()) return end;
  const bool known = std::find(published->begin(), published->end(), *end) != published->end();
  return known ? std::nullopt : end;
}

}  // namespace

absl::Status import_checkpoint(const fs::path& path, const fs::path& out, Log& log) {
  if (!is_hf_folder(path)) {
    return bad_input(path.string(), ": is no Hugging Face folder (it needs config.json)");
  }
  WEFT_ASSIGN_OR_RETURN(const ModelSource source, ModelSource::open(path, log));
  WEFT_ASSIGN_OR_RETURN(const auto published, source.published());
  WEFT_ASSIGN_OR_RETURN(NewFolder folder, NewFolder::create(out));
  for (const std::string& warning : source.training_warnings()) log.warning(warning);
  const ParameterTable table = parameter_table(build_config(source.model()));
  const auto progress = progress_line("importing", log);
  int64_t done = 0, total = 0;
  std::vector<TensorSource> tensors;
  for (const ParameterSpec& row : table.rows()) {
    const at::ScalarType type = source.dtype(row);
    tensors.push_back({row.name, type, row.shape, [&, type]() -> absl::StatusOr<Tensor> {
                         const Tensor tensor = at::empty(row.shape, type);
                         WEFT_RETURN_IF_ERROR(source.read(row, tensor));
                         source.release(row);
                         progress(done += static_cast<int64_t>(tensor.nbytes()), total);
                         return tensor;
                       }});
    total += tensors.back().bytes();
  }
  WEFT_RETURN_IF_ERROR(check_room(out, total));
  TensorStoreWriter writer(folder.temporary(), kImportShardBytes);
  WEFT_RETURN_IF_ERROR(writer.add_tensors("model", tensors));
  WEFT_RETURN_IF_ERROR(writer.add_text(kModelFile, write_model(source.model())));
  // The texts as they are, so that an export can give them back.
  for (const auto& [name, text] : published) {
    WEFT_RETURN_IF_ERROR(writer.add_text(kHfPrefix + name, text));
  }
  WEFT_RETURN_IF_ERROR(writer.finish());
  log.transient("");
  return folder.commit();
}

absl::Status export_checkpoint(const fs::path& path, const fs::path& out,
                               const ExportOptions& options, Log& log) {
  WEFT_RETURN_IF_ERROR(NewFolder::create(out).status());  // before the checkpoint is verified
  WEFT_ASSIGN_OR_RETURN(const ModelSource source, ModelSource::open(path, log));
  HfExport contents{.model = source.model(), .source = source.hf_config()};
  WEFT_ASSIGN_OR_RETURN(contents.companions, source.companions());
  contents.document_end = end_to_write(source);
  const ParameterTable table = parameter_table(build_config(source.model()));
  contents.dtype = [&](const HfPart& part) {
    return options.dtype.value_or(source.dtype(*table.find(part.name)));
  };
  contents.read = [&](const HfPart& part) -> absl::StatusOr<Tensor> {
    const Tensor rows = source.view(part).clone();
    source.release(*table.find(part.name));
    return rows;
  };
  contents.shard_bytes = options.shard_bytes;
  contents.progress = progress_line("exporting", log);
  const absl::Status written = write_hf_folder(out, contents);
  log.transient("");
  return written;
}

}  // namespace weft
