#pragma once

namespace weft {

// Tells the OpenMP runtime to let a waiting thread sleep after a short spin, unless the environment has
// its own word on it. The runtime reads that once, when it is loaded, so the program starts itself anew
// with the setting; where that cannot be done it goes on without.
//
// By default threads that wait for each other spin for milliseconds. As soon as another program wants
// one of the cores, every parallel region then waits for a thread that is not running, and a step takes
// several times as long.
void limit_openmp_spinning(char** argv);

}  // namespace weft
