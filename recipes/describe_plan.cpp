// The model and what a run needs, as text (plan.h): describe_plan.
#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <ATen/Context.h>

#include "models/causal_lm.h"
#include "models/decoding_state.h"
#include "models/families.h"
#include "models/flops.h"
#include "recipes/available_memory.h"
#include "recipes/environment.h"
#include "recipes/fit.h"
#include "recipes/plan.h"

namespace weft {
namespace {

using Row = std::array<std::string, 6>;  // layer, mixer, feed-forward, heads, parameters, active

struct Count {
  int64_t all = 0;
  int64_t active = 0;
  bool operator==(const Count&) const = default;
};

// Parameters by layer, and of what stands outside the layers.
struct Counts {
  std::vector<Count> layers;
  Count embedding, final_norm, head, total;
};

Counts count_parameters(const ModelConfig& config) {
  Counts counts;
  counts.layers.resize(config.layers.size());
  const auto add = [](Count& to, const Count& n) {
    to.all += n.all;
    to.active += n.active;
  };
  const ParameterTable table = parameter_table(config);
  for (const ParameterSpec& spec : table.rows()) {
    const int64_t n = spec.numel();
    const Count count{n, static_cast<int64_t>(static_cast<double>(n) * spec.active_share + 0.5)};
    add(counts.total, count);
    if (spec.name.rfind("layers.", 0) == 0) {
      add(counts.layers[std::stoul(spec.name.substr(7))], count);
    } else if (spec.name.rfind("final_norm", 0) == 0) {
      add(counts.final_norm, count);
    } else {  // the position embedding too
      add(spec.name.rfind("head", 0) == 0 ? counts.head : counts.embedding, count);
    }
  }
  return counts;
}

// 1234567 -> "1,234,567".
std::string grouped(int64_t n) {
  const std::string digits = std::to_string(n);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string feed_forward_text(std::monostate) { return "-"; }
std::string feed_forward_text(const MlpConfig& c) {
  return absl::StrCat(c.gated ? "mlp " : "plain mlp ", c.intermediate_size);
}
std::string feed_forward_text(const MoeConfig& c) {
  return absl::StrCat("moe ", c.num_experts, " x ", c.intermediate_size, ", top ", c.top_k);
}

std::string mixer_text(const AttentionConfig& c) {
  return c.sliding_window > 0 ? absl::StrCat("attention, window ", c.sliding_window) : "attention";
}
std::string mixer_text(const MambaConfig& c) {
  return absl::StrCat("mamba ", c.inner_size, " x ", c.state_size);
}

std::string mixer_text(const Mamba2Config& c) {
  return absl::StrCat("mamba2 ", c.inner_size(), " x ", c.state_size);
}

// Query heads / key-value heads x head width.
std::string heads_text(const AttentionConfig& c) {
  return absl::StrCat(c.num_heads, "/", c.num_kv_heads, " x ", c.head_dim);
}
std::string heads_text(const MambaConfig&) { return "-"; }
std::string heads_text(const Mamba2Config& c) {
  return absl::StrCat(c.num_heads, " x ", c.head_dim);
}

// Layer and counts are left empty.
Row layer_row(const LayerConfig& layer) {
  return {"",
          std::visit([](const auto& part) { return mixer_text(part); }, layer.mixer),
          std::visit([](const auto& part) { return feed_forward_text(part); }, layer.feed_forward),
          std::visit([](const auto& part) { return heads_text(part); }, layer.mixer),
          "",
          ""};
}

// Equal layers in a row share a line, which counts them all.
void append_layers(const ModelConfig& config, const Counts& counts, std::vector<Row>& rows) {
  const size_t size = config.layers.size();
  for (size_t begin = 0, end = 0; begin < size; begin = end) {
    Row row = layer_row(config.layers[begin]);
    const auto same = [&](size_t i) {
      return counts.layers[i] == counts.layers[begin] && layer_row(config.layers[i]) == row;
    };
    end = begin + 1;
    while (end < size && same(end)) ++end;
    const auto layers = static_cast<int64_t>(end - begin);
    const bool one = layers == 1;
    row[0] = one ? std::to_string(begin) : absl::StrCat(begin, "-", end - 1);
    row[4] = grouped(counts.layers[begin].all * layers);
    row[5] = grouped(counts.layers[begin].active * layers);
    rows.push_back(std::move(row));
  }
}

std::string aligned(const std::vector<Row>& rows) {
  std::array<size_t, 6> widths{};
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      const bool number = i >= 4;
      absl::StrAppend(&line, i == 0 ? "" : "  ", number ? padding : row[i],
                      number ? row[i] : padding);
    }
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::string model_table(const ModelConfig& config) {
  const Counts counts = count_parameters(config);
  const auto outside = [](const char* name, const Count& count) {
    return Row{name, "", "", "", grouped(count.all), grouped(count.active)};
  };
  std::vector<Row> rows{{"layer", "mixer", "feed-forward", "heads", "parameters", "active"}};
  rows.push_back(outside("embedding", counts.embedding));
  append_layers(config, counts, rows);
  rows.push_back(outside("final norm", counts.final_norm));
  rows.push_back(config.tie_embeddings ? Row{"head", "is the embedding", "", "", "0", "0"}
                                       : outside("head", counts.head));
  rows.push_back(outside("total", counts.total));
  return aligned(rows);
}

std::string stage_lines(const Recipe& recipe, const ModelConfig& config) {
  std::string text;
  for (const StageConfig& stage : recipe.stages) {
    const double flops = forward_flops_per_token(config, stage.sequence_length);
    const double tokens =
        static_cast<double>(stage.steps) * static_cast<double>(stage.batch_tokens);
    absl::StrAppend(
        &text,
        absl::StrFormat("stage %s: %s updates of %s tokens in sequences of %s, %s a forward pass\n",
                        stage.name, grouped(stage.steps), grouped(stage.batch_tokens),
                        grouped(stage.sequence_length), grouped(*stage.micro_batch_tokens)),
        absl::StrFormat(
            "  FLOPs per token: %.4g forward, %.4g training; %.3g tokens take %.3g FLOPs\n", flops,
            3 * flops, tokens, 3 * flops * tokens));
  }
  return text;
}

std::string memory_lines(const Recipe& recipe) {
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  const int width = compute_bytes(recipe);
  const MemoryPlan plan = plan_memory(recipe, width);
  const auto line = [&](const char* name, int64_t bytes) {
    return absl::StrFormat("  %-12s %10.3f GiB\n", name, static_cast<double>(bytes) / kGiB);
  };
  return absl::StrCat("memory of training, computing in ",
                      width == 2   ? "bf16"
                      : width == 4 ? "fp32"
                                   : "fp64",
                      ":\n", line("parameters", plan.parameters), line("gradients", plan.gradients),
                      line("optimizer", plan.optimizer), line("activations", plan.activations),
                      line("working", plan.working), line("total", plan.total()),
                      plan.host > 0 ? line("in its host", plan.host) : "");
}

std::string longest_line(const Recipe& recipe, std::optional<int64_t> memory_bytes) {
  // A GPU that isn't here has no memory to fit into.
  const bool cuda = runs_on_cuda(recipe);
  if (!memory_bytes.has_value() && cuda && !at::hasCUDA()) return "";
  const Room room = memory_bytes.has_value() ? Room{.device = *memory_bytes} : room_here(recipe);
  const LongestSequence longest = longest_sequence(recipe, compute_bytes(recipe), room);
  return absl::StrFormat(
      "longest sequence that fits in %s: %s\n", gib_text(static_cast<double>(room.device)),
      longest.tokens == 0
          ? "none"
          : absl::StrCat(
                grouped(longest.tokens), " tokens, one a forward pass",
                longest.plan.host > 0 ? absl::StrCat(" (", plan_text(longest.plan), ")") : ""));
}

}  // namespace

std::string describe_model(const std::string& name, const ModelRecipe& model) {
  const ModelConfig config = build_config(model);
  return absl::StrCat(name, ": ", name_of(model.family), ", ", config.layers.size(),
                      " layers, hidden_size ", config.hidden_size, ", vocabulary ",
                      config.vocab_size, "\n\n", model_table(config));
}

std::string describe_state(const ModelRecipe& model, int64_t context) {
  constexpr double kMiB = 1024.0 * 1024.0;
  const StateBytes bytes = state_bytes(build_config(model), context, /*width=*/2);
  const auto line = [&](const char* name, double value) {
    return absl::StrFormat("  %-16s %12.3f MiB\n", name, value / kMiB);
  };
  return absl::StrCat("decoding state of one sequence of ", grouped(context), " tokens in bf16:\n",
                      line("keys and values", bytes.keys_and_values), line("scans", bytes.scan),
                      line("total", bytes.keys_and_values + bytes.scan));
}

std::string describe_plan(const Recipe& recipe, std::optional<int64_t> memory_bytes) {
  return absl::StrCat(describe_model(recipe.name, recipe.model), "\n",
                      stage_lines(recipe, build_config(recipe.model)), "\n", memory_lines(recipe),
                      longest_line(recipe, memory_bytes));
}

}  // namespace weft
