#include "models/kernels/cpu/choose_experts.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace weft::cpu {

template <class C>
void choose_experts(const ExpertChoice& choice, const C* logits, int64_t* chosen, C* weights) {
  std::vector<C> p(logits, logits + choice.experts);
  const C largest = *std::max_element(p.begin(), p.end());
  C sum = 0;
  for (C& x : p) sum += x = std::exp(x - largest);
  for (C& x : p) x /= sum;
  std::vector<int64_t> order(p.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return p[a] > p[b]; });
  std::copy(order.begin(), order.begin() + choice.top_k, chosen);
  std::sort(chosen, chosen + choice.top_k);
  C kept = 0;
  for (int64_t i = 0; i < choice.top_k; ++i) kept += weights[i] = p[chosen[i]];
  if (!choice.renormalize) return;
  for (int64_t i = 0; i < choice.top_k; ++i) weights[i] /= kept;
}

template void choose_experts<float>(const ExpertChoice&, const float*, int64_t*, float*);
template void choose_experts<double>(const ExpertChoice&, const double*, int64_t*, double*);

}  // namespace weft::cpu
