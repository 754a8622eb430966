#include "parallel/tensor_store.h"
