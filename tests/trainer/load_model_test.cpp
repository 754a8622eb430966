#include "trainer/load_model.h"

#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include "base/check.h"
#include "models/documents.h"

namespace weft {
namespace {

// A head that is tied to the embedding multiplies with a narrow copy of it, however it was loaded.
TEST(LoadModel, FillsTheCopyOfATiedHead) {
  const auto load = [](Gradients gradients) {
    Log log(Log::Echo::kNo);
    auto model = load_model(WEFT_SOURCE_DIR "/tests/parity/fixtures/gpt2", DeviceKind::kCpu,
                            ComputeKind::kBf16, log, gradients);
    WEFT_CHECK(model.ok(), model.status());
    return *std::move(model);
  };
  const LoadedModel read = load(Gradients::kNone), trained = load(Gradients::kKept);
  ASSERT_TRUE(read.model->config().tie_embeddings);
  const Tensor tokens = at::arange(7, at::kLong).unsqueeze(0);
  const Documents documents = Documents::whole_rows(1, 7, at::kCPU);
  const Tensor logits = read.model->logits(tokens, documents);
  EXPECT_TRUE(trained.model->logits(tokens, documents).detach().equal(logits));
  EXPECT_GT(logits.abs().max().item<double>(), 0);
  for (const LoadedModel* loaded : {&read, &trained}) {
    const Tensor& wide = loaded->store->compute("embedding.weight");
    EXPECT_EQ(wide.scalar_type(), at::kFloat);
    EXPECT_TRUE(loaded->store->narrow("embedding.weight").equal(wide.to(at::kBFloat16)));
    for (const Parameter& p : loaded->store->parameters()) {
      if (!p.master.defined()) continue;
      EXPECT_TRUE(p.compute.equal(p.master.to(p.compute.scalar_type())));
    }
  }
}

}  // namespace
}  // namespace weft
