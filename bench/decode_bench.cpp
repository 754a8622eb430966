// Greedy decoding of one sequence: `decode_bench FOLDER fp32|bf16 TOKENS` loads a checkpoint, makes
// TOKENS tokens after a prompt of 16, and prints one JSON line with tokens a second and the share of
// the memory bound: bytes of weights that a token reads, a second, over the bandwidth (read + write)
// of copying 1 GB, measured in between. bench/decode.py sets it beside transformers.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/memory_copy.h"
#include "bench/versus.h"
#include "trainer/generate.h"
#include "trainer/load_model.h"

namespace weft {
namespace {

constexpr int kRuns = 5;
constexpr int64_t kPrompt = 16;

// Bytes of weights that one token reads: all but the embedding, of which it reads a row, unless the
// head is the embedding; of experts those that it uses.
double bytes_per_token(const LoadedModel& loaded) {
  const bool tied = loaded.model->config().tie_embeddings;
  const auto width = static_cast<double>(c10::elementSize(loaded.runtime.types.compute));
  double bytes = 0;
  for (const Parameter& p : loaded.store->parameters()) {
    const bool lookup = p.spec->name == "position_embedding.weight" ||
                        (p.spec->name == "embedding.weight" && !tied);
    if (lookup) continue;
    const bool head = p.spec->name == "embedding.weight";  // converted to the compute type
    const double size = head ? width : static_cast<double>(p.compute.element_size());
    bytes += static_cast<double>(p.spec->numel()) * p.spec->active_share * size;
  }
  return bytes;
}

int run(const char* folder, const std::string& compute, int64_t tokens) {
  Log log(Log::Echo::kYes);
  const auto loaded = load_model(folder, DeviceKind::kCpu,
                                 compute == "bf16" ? ComputeKind::kBf16 : ComputeKind::kFp32, log);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", std::string(loaded.status().message()).c_str());
    return exit_status(loaded.status());
  }
  std::vector<int64_t> prompt;
  for (int64_t i = 0; i < kPrompt; ++i) prompt.push_back(1 + 7 * i % 1000);
  const GenerationOptions options{.sampling = {.temperature = 0},
                                  .max_tokens = tokens,
                                  .window = kPrompt + tokens + 1};
  MemoryCopy memory;
  std::vector<double> copies, seconds;
  memory.copy_bandwidth();
  generate(*loaded->model, {prompt}, options);
  for (int i = 0; i < kRuns; ++i) {
    copies.push_back(memory.copy_bandwidth());
    const auto start = std::chrono::steady_clock::now();
    generate(*loaded->model, {prompt}, options);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    seconds.push_back(time.count());
  }
  std::sort(copies.begin(), copies.end());
  std::sort(seconds.begin(), seconds.end());
  const double rate = static_cast<double>(tokens) / seconds[kRuns / 2];
  const double bytes = bytes_per_token(*loaded);
  const double copy = copies[kRuns / 2];
  std::printf("{\"tokens_per_s\": %.2f, \"parameters\": %ld, \"bytes_per_token\": %.0f, "
              "\"copy_gb_per_s\": %.2f, \"share\": %.4f}\n",
              rate, loaded->table->numel(), bytes, copy / 1e9, rate * bytes / copy);
  return 0;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: decode_bench FOLDER fp32|bf16 TOKENS\n");
    return 2;
  }
  return weft::run(argv[1], argv[2], std::atoll(argv[3]));
}
