"""Longest sequence whose whole step fits under RLIMIT_DATA, and peak memory against length."""

import importlib.util
import math

from workers import Setup, Worker, WorkerFailed, allocators, peer, table_head, table_row, weft

RECIPE, VOCABULARY = "long.yaml", 128256
STEP = 16  # lengths are multiples of this
GIB = 1 << 30
# Column of the table -> settings of weft, or the variant of the peer.
WEFT = {
    "weft": ["memory.mini_sequences=auto", "memory.recompute=block"],
    "weft, nothing computed again": ["memory.mini_sequences=none", "memory.recompute=none"],
}
PEERS = {"transformers, eager": "eager", "transformers, checkpointing": "checkpointed"}


def start(name: str, precision: str, length: int, setup: Setup, limit: int,
          allocator: str) -> Worker:
    """With no more than `limit` bytes of anonymous memory, on the CPU."""
    data_limit = limit if setup.device == "cpu" else None  # a GPU's driver maps far more
    if name in PEERS:
        return peer(setup, ["long", precision, PEERS[name], "1", str(length)], allocator, data_limit)
    return weft(setup, RECIPE, [
        f"precision.compute={precision}", *WEFT[name],
        f"stages.0.sequence_length={length}", f"stages.0.batch_tokens={length}",
        f"stages.0.micro_batch_tokens={length}"], data_limit)


def peak_mib(name: str, precision: str, length: int, setup: Setup, limit: int,
             allocator: str) -> float | None:
    """Peak of memory of whole steps at this length; None if they do not fit."""
    worker = start(name, precision, length, setup, limit, allocator)
    try:
        worker.ask("step")
        if name in PEERS:  # whose optimiser's state is there from the second step's beginning on
            worker.ask("step")
        peak = worker.ask("info")["peak_mib"]
        return peak if setup.device == "cpu" or peak <= limit / (1 << 20) else None
    except WorkerFailed as failure:
        if not failure.lacks_memory:
            raise
        return None
    finally:
        worker.process.kill()
        worker.process.wait()


def faster_allocator(name: str, precision: str, length: int, setup: Setup, limit: int) -> str:
    """The one that a peer's third step is faster with; for weft any name will do."""
    choices = list(allocators(setup.device))
    if name not in PEERS or len(choices) == 1:
        return choices[0]
    times = {}
    for allocator in choices:
        worker = start(name, precision, length, setup, limit, allocator)
        times[allocator] = [worker.ask("step")["ms"] for _ in range(3)][-1]
        worker.close()
    return min(times, key=times.get)


def longest(name: str, precision: str, setup: Setup, limit: int, most: int) -> int:
    """By bisection to 5 %; 0 if not even the shortest fits. Of a peer with any allocator."""
    choices = list(allocators(setup.device))[:None if name in PEERS else 1]

    def fits(length: int) -> bool:
        return any(peak_mib(name, precision, length, setup, limit, allocator) is not None
                   for allocator in choices)

    if not fits(STEP):
        return 0
    low, failed, length = STEP, None, 1024
    while low < most and (failed is None or (failed > 1.05 * low and failed - low > STEP)):
        if fits(length):
            low = length
        else:
            failed = length
        # Doubling until one fails, then between the longest that fits and the shortest that fails.
        middle = 2 * low if failed is None else round(math.sqrt(low * failed) / STEP) * STEP
        length = min(most, middle if failed is None else min(max(middle, low + STEP), failed - STEP))
    return low


def report_longest(setup: Setup, precisions: list[str], limit_gib: float, most: int) -> None:
    limit = int(limit_gib * GIB)
    names = [*WEFT, *PEERS]
    print(f"\nLongest step under RLIMIT_DATA {limit_gib:g} GiB, vocabulary {VOCABULARY}, tied head, "
          f"up to {most} tokens (multiples of {STEP}, to 5 %; transformers with the better of "
          f"jemalloc and malloc)\n")
    print(table_head(["precision", *names, *(f"against {name}" for name in PEERS)]))
    for precision in precisions:
        found = {name: longest(name, precision, setup, limit, most) for name in names}
        ratios = [f"{found['weft'] / found[name]:.1f}" if found[name] else "-" for name in PEERS]
        print(table_row([precision, *found.values(), *ratios]), flush=True)


def report_peaks(setup: Setup, precisions: list[str], limit_gib: float, plot: str) -> None:
    """Also draws them, into the file `plot`."""
    limit = int(limit_gib * GIB)
    lengths = [512 << i for i in range(6)]
    names = [*WEFT, *PEERS]
    print(f"\nPeak memory in MiB of a step, vocabulary {VOCABULARY}, tied head (-: over "
          f"{limit_gib:g} GiB; transformers with the allocator that its steps of {lengths[0]} tokens "
          f"are faster with)\n")
    print(table_head(["precision", "tokens", *names]))
    curves: dict[str, list[tuple[int, float]]] = {}
    for precision in precisions:
        allocator = {name: faster_allocator(name, precision, lengths[0], setup, limit)
                     for name in names}
        for length in lengths:
            cells = []
            for name in names:
                curve = curves.setdefault(f"{name}, {precision}", [])
                failed = curve and curve[-1][0] != length // 2
                peak = None if failed else peak_mib(
                    name, precision, length, setup, limit, allocator[name])
                if peak is not None:
                    curve.append((length, peak))
                cells.append("-" if peak is None else f"{peak:.0f}")
            print(table_row([precision, length, *cells]), flush=True)
    if importlib.util.find_spec("matplotlib") is None:
        print("\nmatplotlib is not installed here: nothing is drawn")
        return
    draw(curves, plot)
    print(f"\nDrawn in {plot}")


def draw(curves: dict[str, list[tuple[int, float]]], path: str) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "weft"  # the same picture from the same figures
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name, points in curves.items():
        if points:
            axes.plot(*zip(*points), marker="o", label=name,
                      linestyle="-" if name.startswith("weft") else "--")
    axes.set(xscale="log", yscale="log", xlabel="tokens of a step", ylabel="peak memory, MiB",
             title=f"Whole steps, vocabulary {VOCABULARY}")
    axes.set_xticks(sorted({x for points in curves.values() for x, _ in points}))
    axes.get_xaxis().set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axes.minorticks_off()
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
