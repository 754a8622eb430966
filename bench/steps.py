"""Whole training steps: weft beside its peers, alternating in one run; medians."""

import math
import statistics
from dataclasses import dataclass

from workers import Worker, allocators, peer, table_head, table_row, weft


@dataclass
class Work:
    rows: int
    length: int
    vocabulary: int
    variants: tuple[str, ...]
    precisions: tuple[str, ...] = ("fp32", "bf16")
    # Of a peer that takes minutes a step; None: as many as of weft.
    peer_repetitions: int | None = None


# Of each the recipe is bench/steps/NAME.yaml, the name up to a dash.
WORKS = {
    "llama": Work(2, 1024, 8192, ("eager", "compiled")),
    "gpt2": Work(1, 1024, 50257, ("eager", "compiled"), ("bf16",)),
    "jamba-256": Work(2, 256, 8192, ("eager",), ("bf16",), 3),
    "jamba": Work(2, 1024, 8192, ("eager",), ("bf16",), 1),
    "mamba": Work(2, 1024, 8192, ("mambapy",), peer_repetitions=3),
}
WARM_STEPS = 3  # the first ones are slower
COLUMNS = ["work", "parameters", "batch", "precision", "steps (weft, peer)", "weft, ms", "fastest peer, ms", "ratio",
           "share of matrix peak", "weft, MiB", "peer, MiB", "discarded"]


def start(name: str, precision: str, program: str, threads: int) -> dict[str, Worker]:
    work = WORKS[name]
    model = name.split("-")[0]
    tokens = work.rows * work.length
    workers = {"weft": weft(program, f"{model}.yaml", [
        f"threads={threads}", f"precision.compute={precision}",
        f"stages.0.sequence_length={work.length}", f"stages.0.batch_tokens={tokens}",
        f"stages.0.micro_batch_tokens={tokens}"])}
    for variant in work.variants:
        arguments = [model, precision, variant, str(work.rows), str(work.length), str(threads)]
        # Where a step takes minutes: the one that others are faster with.
        workers[variant] = (peer(arguments) if work.peer_repetitions == 1
                            else faster_peer(arguments, WARM_STEPS))
    return workers


def faster_peer(arguments: list[str], steps: int) -> Worker:
    """The peer with the allocator that its last of so many steps is faster with."""
    times = {}
    for allocator in allocators():
        worker = peer(arguments, allocator=allocator)
        times[allocator] = [worker.ask_undisturbed("step")["ms"] for _ in range(steps)][-1]
        worker.close()
    return peer(arguments, allocator=min(times, key=times.get))


def warm_up(work: Work, workers: dict[str, Worker]) -> None:
    """Also sees that all do the same work: as many parameters, and a first loss near ln V."""
    for key, worker in workers.items():
        loss = worker.ask("step")["loss"]
        if abs(loss - math.log(work.vocabulary)) > 0.5:
            raise SystemExit(f"{key}: the first loss is {loss}, not {math.log(work.vocabulary):.2f}")
        for _ in range(0 if key != "weft" and work.peer_repetitions == 1 else WARM_STEPS - 1):
            worker.ask("step")
    counts = {worker.ask("info")["parameters"] for worker in workers.values()}
    if len(counts) != 1:
        raise SystemExit(f"numbers of parameters differ: {counts}")


def compare(name: str, precision: str, program: str, threads: int, repetitions: int) -> str:
    work = WORKS[name]
    workers = start(name, precision, program, threads)
    warm_up(work, workers)
    flops = workers["weft"].ask("info")["flops"]
    times = {key: [] for key in workers}
    shares = []
    for i in range(repetitions):
        keys = list(workers)
        for key in keys[i % len(keys):] + keys[:i % len(keys)]:
            if key == "weft" or work.peer_repetitions is None or i < work.peer_repetitions:
                times[key].append(workers[key].ask_undisturbed("step")["ms"])
        peak = workers["weft"].ask_undisturbed("peak")["flops_per_s"]
        shares.append(flops / (times["weft"][-1] / 1e3) / peak)
    median = {key: statistics.median(values) for key, values in times.items()}
    memory = {key: worker.ask("info")["peak_mib"] for key, worker in workers.items()}
    parameters = workers["weft"].ask("info")["parameters"]
    discarded = sum(worker.discarded for worker in workers.values())
    for worker in workers.values():
        worker.close()
    fastest = min(work.variants, key=median.get)
    return table_row([
        name, f"{parameters / 1e6:.1f} M", f"{work.rows} x {work.length}", precision,
        f"{len(times['weft'])}, {len(times[fastest])}",
        f"{median['weft']:.0f}", f"{median[fastest]:.0f} ({fastest})",
        f"{median[fastest] / median['weft']:.2f}", f"{100 * statistics.median(shares):.0f} %",
        f"{memory['weft']:.0f}", f"{min(memory[v] for v in work.variants):.0f}", discarded])


def report(program: str, threads: int, repetitions: int, only: list[str],
           precisions: list[str]) -> None:
    print(table_head(COLUMNS))
    for name, work in WORKS.items():
        if only and name not in only:
            continue
        for precision in (p for p in work.precisions if p in precisions):
            print(compare(name, precision, program, threads, repetitions), flush=True)
