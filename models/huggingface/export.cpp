#include "models/huggingface/export.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <ATen/ops/cat.h>

#include "base/safetensors.h"
#include "models/causal_lm.h"
#include "models/families.h"
#include "models/huggingface/config.h"

namespace weft {
namespace {

const char* config_dtype(at::ScalarType type) {
  if (type == at::kBFloat16) return "bfloat16";
  if (type == at::kHalf) return "float16";
  return type == at::kDouble ? "float64" : "float32";
}

// Ends of generation as config.json has them, where the original came without the file.
std::string generation_config(const Json& config) {
  Json out = {{"_from_model_config", true}};
  for (const char* name : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (config.contains(name) && !config[name].is_null()) out[name] = config[name];
  }
  return out.dump(2) + "\n";
}

// The original file with the bos and eos of config.json; one that cannot be read is made anew.
std::string with_ends_of(const Json& config, const std::string& original) {
  absl::StatusOr<Json> json = parse_python_json(original);
  if (!json.ok() || !json->is_object()) return generation_config(config);
  for (const char* name : {"bos_token_id", "eos_token_id"}) (*json)[name] = config[name];
  return json->dump(2) + "\n";
}

class Exporter {
 public:
  Exporter(fs::path folder, const HfExport& contents)
      : folder_(std::move(folder)), contents_(contents) {
    const ParameterTable table = parameter_table(build_config(contents.model));
    add_sources(hf_tensors(contents.model.family, table));
  }

  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  int64_t tensor_bytes() const { return total_; }

  absl::Status write() {
    const auto shards = split_into_files(std::move(sources_), contents_.shard_bytes);
    WEFT_RETURN_IF_ERROR(write_texts());
    Json weight_map = Json::object();
    for (size_t i = 0; i < shards.size(); ++i) {
      const std::string name =
          shards.size() == 1
              ? "model.safetensors"
              : absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, shards.size());
      for (const TensorSource& tensor : shards[i]) weight_map[tensor.name] = name;
      const auto written = write_safetensors(folder_ / name, shards[i], {{"format", "pt"}});
      WEFT_RETURN_IF_ERROR(written.status());
    }
    if (shards.size() <= 1) return absl::OkStatus();
    const Json index = {{"metadata", {{"total_size", total_}}}, {"weight_map", weight_map}};
    return write_file(folder_ / "model.safetensors.index.json", index.dump(2) + "\n");
  }

 private:
  void add_sources(const std::vector<HfTensor>& tensors) {
    for (const HfTensor& tensor : tensors) {
      const at::ScalarType type = contents_.dtype(tensor.parts[0]);
      sources_.push_back(
          {tensor.name, type, tensor.shape, [this, tensor, type] { return read(tensor, type); }});
      total_ += sources_.back().bytes();
      if (first_type_ == at::ScalarType::Undefined) first_type_ = type;
    }
  }

  absl::StatusOr<Tensor> read(const HfTensor& tensor, at::ScalarType type) {
    std::vector<Tensor> parts;
    for (const HfPart& part : tensor.parts) {
      WEFT_ASSIGN_OR_RETURN(const Tensor rows, contents_.read(part));
      parts.push_back(rows.to(type));
    }
    const Tensor whole = compose_hf_tensor(tensor, parts);
    done_ += static_cast<int64_t>(whole.nbytes());
    if (contents_.progress) contents_.progress(done_, total_);
    return whole;
  }

  absl::Status write_texts() {
    Json config = write_hf_config(contents_.model, contents_.source, config_dtype(first_type_));
    const std::optional<int64_t>& end = contents_.document_end;
    if (end.has_value()) {
      config["bos_token_id"] = config["eos_token_id"] = *end;
    }
    WEFT_RETURN_IF_ERROR(write_file(folder_ / "config.json", config.dump(2) + "\n"));
    for (const auto& [name, text] : contents_.companions) {
      const bool has_ends = end.has_value() && name == "generation_config.json";
      WEFT_RETURN_IF_ERROR(
          write_file(folder_ / name, has_ends ? with_ends_of(config, text) : text));
    }
    if (contents_.companions.contains("generation_config.json")) return absl::OkStatus();
    return write_file(folder_ / "generation_config.json", generation_config(config));
  }

  const fs::path folder_;
  const HfExport& contents_;
  std::vector<TensorSource> sources_;
  int64_t total_ = 0, done_ = 0;
  at::ScalarType first_type_ = at::ScalarType::Undefined;  // the embedding's: config.json's
};

}  // namespace

Tensor compose_hf_tensor(const HfTensor& tensor, const std::vector<Tensor>& parts) {
  const Tensor rows = parts.size() == 1 ? parts[0] : at::cat(parts);
  if (tensor.layout == HfLayout::kTransposed) return rows.t().contiguous();
  return (tensor.layout == HfLayout::kConv ? rows.unsqueeze(1) : rows).contiguous();
}

absl::Status write_hf_folder(const fs::path& folder, const HfExport& contents) {
  WEFT_RETURN_IF_ERROR(check_exportable(contents.model));
  WEFT_ASSIGN_OR_RETURN(NewFolder made, NewFolder::create(folder));
  Exporter exporter(made.temporary(), contents);
  WEFT_RETURN_IF_ERROR(check_room(folder, exporter.tensor_bytes()));
  WEFT_RETURN_IF_ERROR(exporter.write());
  return made.commit();
}

}  // namespace weft
