#pragma once

namespace weft {

// From now on tensors that find no memory make the allocator give back what it keeps of freed
// memory, and ask again: pieces of other sizes are no use to a long sequence's. The first time it
// says so on standard error.
void give_back_kept_memory_when_short();

}  // namespace weft
