#include "trainer/generate.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "base/check.h"
#include "base/random.h"

namespace weft {

std::vector<int64_t> generate(const CausalLM& model, std::vector<int64_t> prompt,
                              const GenerationOptions& options) {
  WEFT_CHECK(!prompt.empty(), "a prompt needs at least one token");
  const at::NoGradGuard no_grad;
  const RandomStream stream(options.seed, "generate", "");
  std::vector<int64_t> all = std::move(prompt);
  const size_t prompt_size = all.size();
  for (int64_t i = 0; i < options.max_tokens; ++i) {
    const int64_t length = std::min<int64_t>(static_cast<int64_t>(all.size()), options.window);
    const std::vector<int64_t> window(all.end() - length, all.end());
    const Tensor tokens = at::tensor(window, at::kLong).unsqueeze(0).to(options.device);
    const Tensor hidden =
        model.hidden(tokens, Documents::whole_rows(1, length, options.device), nullptr);
    const Tensor logits = model.head(hidden.narrow(1, length - 1, 1)).reshape(-1).cpu();
    const int64_t token = sample_token(logits, options.sampling, stream.uniform(i));
    if (token == options.end_token) break;
    all.push_back(token);
    if (options.on_token && !options.on_token(token)) break;
  }
  return {all.begin() + static_cast<int64_t>(prompt_size), all.end()};
}

}  // namespace weft
