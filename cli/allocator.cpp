// jemalloc's settings, which it reads under this name before main. Training allocates the same
// large blocks step after step: freed pages are kept (a decay of -1) instead of being given back
// and cleared anew, and large blocks share the arenas of small ones, so that pieces of other sizes
// (experts have another number of tokens at every step) are put together again instead of piling
// up. Address space is not taken ahead of use, as a limit (`ulimit -d`) counts it. Huge pages,
// where the system gives them to those who ask: decoding a token from a thousand small tensors
// waits for the tables of small pages otherwise.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf =  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
    "dirty_decay_ms:-1,muzzy_decay_ms:-1,oversize_threshold:0,narenas:1,thp:always,retain:false";
}
