#pragma once
// Which experts a token uses, from its router's logits.
#include <cstdint>

namespace weft::cpu {

struct ExpertChoice {
  int64_t experts = 0;       // E
  int64_t top_k = 0;         // 1 to E
  bool renormalize = false;  // the chosen ones' probabilities add up to 1
};

// The top_k of logits [E] in ascending order of expert, and their softmax probabilities, as `route`
// of models/moe.h gives them: ties go to the lower expert. chosen, weights [top_k].
template <class C>
void choose_experts(const ExpertChoice& choice, const C* logits, int64_t* chosen, C* weights);

}  // namespace weft::cpu
