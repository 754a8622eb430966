#include "parallel/parameter_store.h"
