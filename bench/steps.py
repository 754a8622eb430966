"""Whole training steps: weft beside its peers, alternating in one run; medians."""

import importlib.util
import math
import statistics
from dataclasses import dataclass

from workers import Setup, Worker, WorkerFailed, allocators, peer, table_head, table_row, weft


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


def start(name: str, precision: str, setup: Setup) -> dict[str, Worker]:
    work = WORKS[name]
    model = name.split("-")[0]
    tokens = work.rows * work.length
    workers = {"weft": weft(setup, f"{model}.yaml", [
        f"precision.compute={precision}", f"stages.0.sequence_length={work.length}", f"stages.0.batch_tokens={tokens}",
        f"stages.0.micro_batch_tokens={tokens}"])}
    warm_up(workers["weft"], work, WARM_STEPS)
    for variant in work.variants:
        workers[variant] = faster_peer(
            setup, [model, precision, variant, str(work.rows), str(work.length)], work)
    return workers


def faster_peer(setup: Setup, arguments: list[str], work: Work) -> Worker:
    """The peer, warm, with the allocator that its last warm-up step is faster with."""
    steps = 1 if work.peer_repetitions == 1 else WARM_STEPS
    found = []
    for allocator in allocators(setup.device):
        worker = peer(setup, arguments, allocator)
        found.append((warm_up(worker, work, steps), worker))
    found.sort(key=lambda pair: pair[0])
    for _, slower in found[1:]:
        slower.close()
    return found[0][1]


def warm_up(worker: Worker, work: Work, steps: int) -> float:
    """Milliseconds of the last step. The first loss must be near ln V: all do the same work."""
    answer = worker.ask("step")
    if abs(answer["loss"] - math.log(work.vocabulary)) > 0.5:
        raise SystemExit(f"{' '.join(worker.process.args)}: the first loss is {answer['loss']}, "
                         f"not {math.log(work.vocabulary):.2f}")
    for _ in range(steps - 1):
        answer = worker.ask_undisturbed("step")
    return answer["ms"]


def compare(name: str, precision: str, setup: Setup, repetitions: int) -> str:
    work = WORKS[name]
    workers = start(name, precision, setup)
    about = {key: worker.ask("info") for key, worker in workers.items()}
    if len({each["parameters"] for each in about.values()}) != 1:
        raise SystemExit(f"numbers of parameters differ: {about}")
    flops, parameters = about["weft"]["flops"], about["weft"]["parameters"]
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
    if setup.device != "cpu":  # the matrices of `peak` are tensors, too
        memory["weft"] = about["weft"]["peak_mib"]
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


def report(setup: Setup, repetitions: int, only: list[str], precisions: list[str]) -> None:
    print(table_head(COLUMNS))
    for name, work in WORKS.items():
        if only and name not in only:
            continue
        package = "mambapy" if "mambapy" in work.variants else "transformers"
        if importlib.util.find_spec(package) is None:
            print(table_row([f"{name}: {package} is not installed here"]), flush=True)
            continue
        for precision in (p for p in work.precisions if p in precisions):
            try:
                print(compare(name, precision, setup, repetitions), flush=True)
            except WorkerFailed as failure:
                print(table_row([name, precision, str(failure).splitlines()[-1]]), flush=True)
