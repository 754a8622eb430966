"""What weft's own settings cost: mini-sequences at equal length, and longer sequences a token."""

import statistics

from workers import Setup, Worker, table_head, table_row, weft

ALL = "1000000"  # rows: never reached
SLICED = {
    "mini-sequences, both with block recomputation":
        (["memory.mini_sequences=none", "memory.recompute=block"],
         ["memory.mini_sequences=auto", "memory.recompute=block"]),
    "the head's mini-sequences alone":
        (["memory.mini_sequences=none"],
         [f"memory.mini_sequences.mlp_rows={ALL}", "memory.mini_sequences.head_rows=1024"]),
    "the feed-forward's mini-sequences alone":
        (["memory.mini_sequences=none"],
         ["memory.mini_sequences.mlp_rows=1024", f"memory.mini_sequences.head_rows={ALL}"]),
}
LENGTHS = (4096, 16384, 65536)


def alternate(workers: list[Worker], repetitions: int) -> list[list[float]]:
    """Milliseconds of each worker's steps; all take turns."""
    times: list[list[float]] = [[] for _ in workers]
    for i in range(repetitions):
        order = list(range(len(workers)))
        for k in order[i % len(order):] + order[:i % len(order)]:
            times[k].append(workers[k].ask_undisturbed("step")["ms"])
    return times


def compare(settings: tuple[list[str], list[str]], precision: str, setup: Setup,
            repetitions: int) -> tuple[float, float]:
    workers = [weft(setup, "llama.yaml", [f"precision.compute={precision}", *some])
               for some in settings]
    for worker in workers:
        for _ in range(2):
            worker.ask("step")
    plain, sliced = alternate(workers, repetitions)
    for worker in workers:
        worker.close()
    return statistics.median(plain), statistics.median(sliced)


def time_per_token(length: int, precision: str, setup: Setup) -> Worker:
    worker = weft(setup, "mamba.yaml", [
        f"precision.compute={precision}", "memory.mini_sequences=auto", f"stages.0.sequence_length={length}",
        f"stages.0.batch_tokens={length}", f"stages.0.micro_batch_tokens={length}"])
    worker.ask("step")
    return worker


def report(setup: Setup, repetitions: int, precisions: list[str]) -> None:
    print("\n" + table_head(["llama, 2 x 1024", "precision", "without, ms", "with, ms", "slower by"]))
    for name, settings in SLICED.items():
        for precision in precisions:
            plain, sliced = compare(settings, precision, setup, repetitions)
            print(table_row([name, precision, f"{plain:.0f}", f"{sliced:.0f}",
                             f"{100 * (sliced / plain - 1):.1f} %"]), flush=True)
    print("\n" + table_head(["mamba, tokens", "precision", "step, ms", "us a token",
                             f"against {LENGTHS[0]}"]))
    for precision in precisions:
        workers = [time_per_token(length, precision, setup) for length in LENGTHS]
        times = [statistics.median(some) for some in alternate(workers, 3)]
        for worker in workers:
            worker.close()
        first = times[0] / LENGTHS[0]
        for length, ms in zip(LENGTHS, times):
            print(table_row([length, precision, f"{ms:.0f}", f"{1e3 * ms / length:.1f}",
                             f"{100 * (ms / length / first - 1):+.1f} %"]), flush=True)
