#include "models/kernels/cpu/choose_experts.h"

#include <algorithm>
#include <cmath>

namespace weft::cpu {

namespace {

// Puts (expert, weight) into ordered lists of `count`, before entry i if before(i) says so; what is
// behind the first `most` falls off.
template <class C, class Before>
void insert(int64_t expert, C weight, int64_t count, int64_t most, int64_t* experts, C* weights,
            const Before& before) {
  int64_t at = count;
  for (; at > 0 && before(at - 1); --at) {
    if (at == most) continue;
    experts[at] = experts[at - 1];
    weights[at] = weights[at - 1];
  }
  if (at == most) return;
  experts[at] = expert;
  weights[at] = weight;
}

}  // namespace

template <class C>
void choose_experts(const ExpertChoice& choice, const C* logits, int64_t* chosen, C* weights) {
  const int64_t k = choice.top_k;
  const C largest = *std::max_element(logits, logits + choice.experts);
  C sum = 0;
  for (int64_t e = 0; e < choice.experts; ++e) sum += std::exp(logits[e] - largest);
  for (int64_t e = 0; e < choice.experts; ++e) {
    const C p = std::exp(logits[e] - largest) / sum;
    insert(e, p, std::min(e, k), k, chosen, weights, [&](int64_t i) { return p > weights[i]; });
  }
  C kept = 0;
  for (int64_t i = 0; i < k; ++i) {
    const int64_t expert = chosen[i];
    insert(expert, weights[i], i, k, chosen, weights,
           [&](int64_t j) { return expert < chosen[j]; });
  }
  for (int64_t i = 0; i < k; ++i) kept += weights[i];
  if (!choice.renormalize) return;
  for (int64_t i = 0; i < k; ++i) weights[i] /= kept;
}

template void choose_experts<float>(const ExpertChoice&, const float*, int64_t*, float*);
template void choose_experts<double>(const ExpertChoice&, const double*, int64_t*, double*);

}  // namespace weft::cpu
