"""Attention and the selective scan, forward and backward: weft beside its peers, alternating."""

import importlib.util
import statistics

from workers import Setup, WorkerFailed, kernel_peer, table_head, table_row, weft_kernels

# Rows, tokens, heads and their width; rows, tokens, channels and states.
CASES = {
    "attention": {"cpu": [(2, 1024, 8, 64), (1, 4096, 8, 64)],
                  "cuda": [(8, 1024, 16, 64), (2, 4096, 16, 128), (1, 16384, 16, 128)]},
    "scan": {"cpu": [(2, 1024, 1024, 16)],
             "cuda": [(8, 2048, 2048, 16), (1, 16384, 4096, 16)]},
}


def peers_of(kernel: str, setup: Setup) -> list[str]:
    if kernel == "attention":
        return ["torch"]
    has_mamba_ssm = setup.device == "cuda" and importlib.util.find_spec("mamba_ssm") is not None
    has_mambapy = importlib.util.find_spec("mambapy") is not None
    return ["mamba-ssm"] * has_mamba_ssm + ["mambapy"] * has_mambapy


def compare(line: str, peer: str, setup: Setup, repetitions: int) -> tuple[float, float]:
    """Medians of weft and the peer, in milliseconds."""
    workers = [weft_kernels(setup), kernel_peer(setup, peer)]
    times: list[list[float]] = [[], []]
    for i in range(repetitions):
        for k in (i % 2, 1 - i % 2):
            times[k].append(workers[k].ask_undisturbed(line)["ms"])
    for worker in workers:
        worker.close()
    return statistics.median(times[0]), statistics.median(times[1])


def report(setup: Setup, repetitions: int, precisions: list[str]) -> None:
    print("\n" + table_head(["kernel", "sizes", "precision", "weft, ms", "peer, ms", "ratio"]))
    for kernel, cases in CASES.items():
        for peer in peers_of(kernel, setup):
            for sizes in cases[setup.device]:
                for precision in precisions:
                    line = " ".join(map(str, (kernel, precision, *sizes)))
                    try:
                        ours, theirs = compare(line, peer, setup, repetitions)
                    except WorkerFailed as failure:
                        print(table_row([line, peer, str(failure).splitlines()[-1]]), flush=True)
                        continue
                    print(table_row([kernel, " x ".join(map(str, sizes)), precision, f"{ours:.3f}",
                                     f"{theirs:.3f} ({peer})", f"{theirs / ours:.2f}"]), flush=True)
    if setup.device == "cuda" and "mamba-ssm" not in peers_of("scan", setup):
        print("\nmamba-ssm is not installed here: no row of its scan")
