"""Longest sequence whose whole step fits under RLIMIT_DATA, and peak memory against length."""

import math
from typing import NamedTuple

from workers import Worker, WorkerFailed, allocators, peer, table_head, table_row, weft

RECIPE, VOCABULARY = "long.yaml", 128256
STEP = 16  # lengths are multiples of this
GIB = 1 << 30
# Column of the table -> settings of weft, or the variant of the peer.
WEFT = {
    "weft": ["memory.mini_sequences=auto", "memory.recompute=block"],
    "weft, nothing computed again": ["memory.mini_sequences=none", "memory.recompute=none"],
}
PEERS = {"transformers, eager": "eager", "transformers, checkpointing": "checkpointed"}


class Setting(NamedTuple):
    """What all steps of a run have in common."""
    program: str
    threads: int
    limit: int  # bytes of anonymous memory


def start(name: str, precision: str, length: int, setting: Setting, allocator: str) -> Worker:
    if name in PEERS:
        return peer(["long", precision, PEERS[name], "1", str(length), str(setting.threads)],
                    setting.limit, allocator)
    return weft(setting.program, RECIPE, [
        f"threads={setting.threads}", f"precision.compute={precision}", *WEFT[name],
        f"stages.0.sequence_length={length}", f"stages.0.batch_tokens={length}",
        f"stages.0.micro_batch_tokens={length}"], setting.limit)


def peak_mib(name: str, precision: str, length: int, setting: Setting,
             allocator: str = "pages kept") -> float | None:
    """Peak of memory of whole steps at this length; None if they do not fit."""
    worker = start(name, precision, length, setting, allocator)
    try:
        worker.ask("step")
        if name in PEERS:  # whose optimiser's state is there from the second step's beginning on
            worker.ask("step")
        return worker.ask("info")["peak_mib"]
    except WorkerFailed as failure:
        if not failure.lacks_memory:
            raise
        return None
    finally:
        worker.process.kill()
        worker.process.wait()


def faster_allocator(name: str, precision: str, length: int, setting: Setting) -> str:
    """The one that a peer's third step is faster with."""
    times = {}
    for allocator in allocators():
        worker = start(name, precision, length, setting, allocator)
        times[allocator] = [worker.ask("step")["ms"] for _ in range(3)][-1]
        worker.close()
    return min(times, key=times.get)


def longest(name: str, precision: str, setting: Setting, most: int) -> int:
    """By bisection to 5 %; 0 if not even the shortest fits. Of a peer with any allocator."""
    settings = list(allocators()) if name in PEERS else ["pages kept"]

    def fits(length: int) -> bool:
        return any(peak_mib(name, precision, length, setting, allocator) is not None
                   for allocator in settings)

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


def report_longest(program: str, threads: int, precisions: list[str], limit_gib: float,
                   most: int) -> None:
    setting = Setting(program, threads, int(limit_gib * GIB))
    names = [*WEFT, *PEERS]
    print(f"\nLongest step under RLIMIT_DATA {limit_gib:g} GiB, vocabulary {VOCABULARY}, tied head, "
          f"up to {most} tokens (multiples of {STEP}, to 5 %; transformers with the better of "
          f"jemalloc and malloc)\n")
    print(table_head(["precision", *names, *(f"against {name}" for name in PEERS)]))
    for precision in precisions:
        found = {name: longest(name, precision, setting, most) for name in names}
        ratios = [f"{found['weft'] / found[name]:.1f}" if found[name] else "-" for name in PEERS]
        print(table_row([precision, *found.values(), *ratios]), flush=True)


def report_peaks(program: str, threads: int, precisions: list[str], limit_gib: float,
                 plot: str) -> None:
    """Also draws them, into the file `plot`."""
    setting = Setting(program, threads, int(limit_gib * GIB))
    lengths = [512 << i for i in range(6)]
    names = [*WEFT, *PEERS]
    print(f"\nPeak memory in MiB of a step, vocabulary {VOCABULARY}, tied head (-: over "
          f"{limit_gib:g} GiB; transformers with the allocator that its steps of {lengths[0]} tokens "
          f"are faster with)\n")
    print(table_head(["precision", "tokens", *names]))
    curves: dict[str, list[tuple[int, float]]] = {}
    for precision in precisions:
        allocator = {name: faster_allocator(name, precision, lengths[0], setting)
                     if name in PEERS else "pages kept" for name in names}
        for length in lengths:
            cells = []
            for name in names:
                curve = curves.setdefault(f"{name}, {precision}", [])
                failed = curve and curve[-1][0] != length // 2
                peak = None if failed else peak_mib(
                    name, precision, length, setting, allocator[name])
                if peak is not None:
                    curve.append((length, peak))
                cells.append("-" if peak is None else f"{peak:.0f}")
            print(table_row([precision, length, *cells]), flush=True)
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
