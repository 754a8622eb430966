#include "trainer/out_of_memory.h"

#include <new>
#include <stdexcept>
#include <string>

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include "base/check.h"
#include "models/kernels/host_stash.h"
#include "recipes/load.h"
#include "tests/recipes/broken_recipes.h"

namespace weft {
namespace {

std::string words_of(const std::exception& error) {
  const auto recipe = parse_recipe(kGoodRecipe, "good");
  WEFT_CHECK(recipe.ok(), recipe.status());
  const std::optional<absl::Status> failure =
      out_of_memory(error, *recipe, resolve_runtime(*recipe));
  if (!failure.has_value()) return "";
  EXPECT_EQ(exit_status(*failure), 1);
  return std::string(failure->message());
}

bool has(const std::string& text, const std::string& piece) {
  return text.find(piece) != std::string::npos;
}

TEST(OutOfMemory, SaysWhatWasAskedForTheLimitAndWhatWouldFit) {
  std::string words;
  try {
    at::empty({int64_t{1} << 55}, at::kFloat);
    FAIL() << "so much memory";
  } catch (const std::exception& error) {
    words = words_of(error);
  }
  EXPECT_TRUE(has(words,
                  "training does not fit into memory: it asked for 144115188075855872 bytes "
                  "more; this "))
      << words;
  EXPECT_TRUE(has(words, " GiB, of which this recipe was expected to take ")) << words;
  EXPECT_TRUE(has(words, "; with memory.mini_sequences=small") || has(words, "; no setting"))
      << words;
}

TEST(OutOfMemory, TakesTheSizeOfAGpusAllocatorAsItIs) {
  const c10::OutOfMemoryError error(
      {"allocate", "allocator", 1},
      "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 3 GiB");
  EXPECT_TRUE(has(words_of(error), "it asked for 2.50 GiB more; "));
}

TEST(OutOfMemory, KnowsThatOfAGpusOwnCalls) {
  const auto error = [](const char* words) { return c10::Error({"launch", "kernel", 1}, words); };
  EXPECT_TRUE(has(words_of(error("CUDA error: out of memory\nCUDA kernel errors might be")),
                  "training does not fit into memory: this "));
  EXPECT_TRUE(
      has(words_of(error("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate")),
          "training does not fit into memory: this "));
  EXPECT_EQ(words_of(error("CUDA error: an illegal memory access was encountered")), "");
}

TEST(OutOfMemory, SaysWhereTheHostHasNoneForWhatIsOffloaded) {
  const std::string words = words_of(HostMemoryError(4096));
  EXPECT_EQ(
      words.find("what memory.offload takes out of the GPU does not fit into its host: this "), 0u);
  EXPECT_TRUE(has(words, " GiB, of which this recipe was expected to take ")) << words;
}

TEST(OutOfMemory, KnowsItFromOtherFailures) {
  EXPECT_TRUE(has(words_of(std::bad_alloc()), "training does not fit into memory: this "));
  EXPECT_EQ(words_of(std::runtime_error("the shapes differ")), "");
}

}  // namespace
}  // namespace weft
