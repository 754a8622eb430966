#pragma once
// What all layers of a forward pass over whole documents share.
#include "models/documents.h"
#include "models/moe.h"
#include "models/recompute.h"
#include "models/rope.h"

namespace weft {

struct ForwardPass {
  const Documents& documents;
  Rotations& rotations;             // of documents.positions
  RouterStats* stats;               // null: not wanted
  Values values = Values::kWanted;  // of what a block gives; RouterStats always have theirs
};

}  // namespace weft
