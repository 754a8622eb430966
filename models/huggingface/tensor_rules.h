#pragma once
// How the tensors of a Hugging Face checkpoint are made of weft's logical ones: a table of rules a
// family, used in both directions (spec/models.md 12).
#include <cstdint>
#include <string>
#include <vector>

#include "models/model_recipe.h"
#include "parallel/parameter_table.h"

namespace weft {

// What a tensor on disk is, beside its rows one after the other.
enum class HfLayout {
  kSame,
  kTransposed,  // [in, out]: GPT-2's Conv1D
  kConv,        // [channels, 1, K] of a logical [channels, K]
};

// A tensor on disk by name, and the logical tensors that it is made of. {i}: layer, {j}: expert.
// `parts` are separated by spaces; in layers they stand without "layers.{i}.".
struct HfRule {
  std::string name;
  const char* parts;
  HfLayout layout;
};

// The table of a family, in the order of transformers' state dict. A rule holds only for layers
// that have its logical tensors. REQUIRES: a family that transformers has.
std::vector<HfRule> hf_rules(Family family);

// A logical tensor, or one expert of it, as rows of a tensor on disk.
struct HfPart {
  std::string name;
  int64_t expert = -1;  // index of the first dimension, or -1: the whole tensor
  int64_t rows = 0;     // of the first dimension (that of the expert)
};

struct HfTensor {
  std::string name;
  std::vector<int64_t> shape;  // on disk
  HfLayout layout = HfLayout::kSame;
  std::vector<HfPart> parts;  // rows one after the other
};

// The tensors of a checkpoint, in the order of the rules. They hold every row of `table` exactly
// once. REQUIRES: a family that transformers has, and the model's own table.
std::vector<HfTensor> hf_tensors(Family family, const ParameterTable& table);

// What a file may have beyond these (spec/models.md 12, 13): buffers, and beside a tied embedding a
// head, which has to be its copy: transformers takes a head that differs as it is.
bool is_skipped_hf_tensor(Family family, const std::string& name);
bool is_hf_head(const std::string& name);

// Other names under which a file may hold the tensor `name`, such as without "transformer.".
std::vector<std::string> hf_aliases(Family family, const std::string& name);

}  // namespace weft
