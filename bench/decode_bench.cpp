// Greedy decoding of one sequence: `decode_bench FOLDER fp32|bf16 TOKENS` loads a checkpoint, makes
// TOKENS tokens after a prompt of 16, and prints one JSON line with tokens a second and the share
// of the memory bound: bytes of weights that a token reads, a second, over the bandwidth (read +
// write) of copying 1 GB, and over that of merely reading it, of which parts follow every sixteenth
// token. bench/decode.py sets it beside transformers.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/versus.h"
#include "cli/openmp.h"
#include "trainer/generate.h"
#include "trainer/load_model.h"
#include "trainer/memory_copy.h"

namespace weft {
namespace {

constexpr int kRuns = 5;
constexpr int64_t kPrompt = 16;
constexpr int kTurn = 16;      // tokens between two copies
constexpr int kUncounted = 8;  // of them, at the start

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

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Share {
  double share;          // of the bandwidth of copying
  double copy;           // bytes read and written a second
  double reading_share;  // of the bandwidth of reading
};

// Sixteen tokens and parts of the 1 GB copied and read take turns, and each turn is compared with
// its own, so that all meet the same machine; the medians of all turns count. The first eight
// tokens of a turn find the caches full of the copy, which decoding doesn't: a model that fits
// there is back in them by then. They don't count.
Share measure_share(const LoadedModel& loaded, const std::vector<int64_t>& prompt,
                    GenerationOptions options) {
  constexpr int64_t kPart = 64 << 20;
  const double bytes = bytes_per_token(loaded);
  MemoryCopy memory;
  memory.copy_bandwidth();
  std::vector<double> tokens, copies, shares, reading_shares;
  Clock::time_point last;
  int made = 0;
  options.on_token = [&](size_t, int64_t) {
    if (++made > kUncounted) tokens.push_back(since(last));
    if (made == kTurn) {
      const Clock::time_point start = Clock::now();
      memory.copy(kPart);
      copies.push_back(static_cast<double>(kPart) / since(start));
      const Clock::time_point middle = Clock::now();
      memory.read(kPart);
      const double rate = bytes / median(tokens);
      shares.push_back(rate / copies.back());
      reading_shares.push_back(rate * since(middle) / static_cast<double>(kPart));
      tokens.clear();
      made = 0;
    }
    last = Clock::now();
    return true;
  };
  for (int i = 0; i < 3; ++i) {
    made = 0;
    tokens.clear();
    WEFT_CHECK(generate(*loaded.model, {prompt}, options).ok(), "generation failed");
  }
  return {median(shares), median(copies), median(reading_shares)};
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
  const GenerationOptions options{
      .sampling = {.temperature = 0}, .max_tokens = tokens, .window = kPrompt + tokens + 1};
  std::vector<double> seconds;
  WEFT_CHECK(generate(*loaded->model, {prompt}, options).ok(), "generation failed");
  for (int i = 0; i < kRuns; ++i) {
    const Clock::time_point start = Clock::now();
    WEFT_CHECK(generate(*loaded->model, {prompt}, options).ok(), "generation failed");
    seconds.push_back(since(start));
  }
  std::sort(seconds.begin(), seconds.end());
  const double rate = static_cast<double>(tokens) / seconds[kRuns / 2];
  const Share share = measure_share(*loaded, prompt, options);
  std::printf(
      "{\"tokens_per_s\": %.2f, \"parameters\": %ld, \"bytes_per_token\": %.0f, "
      "\"copy_gb_per_s\": %.2f, \"share\": %.4f, \"reading_share\": %.4f}\n",
      rate, loaded->table->numel(), bytes_per_token(*loaded), share.copy / 1e9, share.share,
      share.reading_share);
  return 0;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  weft::limit_openmp_spinning(argv);  // as weft itself does; the peer keeps its own setting
  if (argc != 4 || std::atoll(argv[3]) < weft::kTurn) {
    std::fprintf(stderr, "usage: decode_bench FOLDER fp32|bf16 TOKENS (16 or more)\n");
    return 2;
  }
  return weft::run(argv[1], argv[2], std::atoll(argv[3]));
}
