"""Whole training steps: weft beside transformers, alternating in one run.

Run by scripts/bench. Every worker is a process of its own that waits for its turn; a step during
which other programs took over 5 % of the cores is discarded and repeated. Prints a Markdown table.
"""

import argparse
import ctypes.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import torch
import transformers

BENCH = os.path.dirname(os.path.abspath(__file__))
CORES = len(os.sched_getaffinity(0))
TICK = 1 / os.sysconf("SC_CLK_TCK")
MOST_DISCARDED = 20  # steps in a row


@dataclass
class Work:
    recipe: str
    rows: int
    length: int
    vocabulary: int
    variants: tuple[str, ...]


WORKS = {
    "llama": Work("llama.yaml", 2, 1024, 8192, ("eager", "compiled")),
    "gpt2": Work("gpt2.yaml", 1, 1024, 50257, ("eager", "compiled")),
}


class Worker:
    """A process that answers each line with a line of JSON."""

    def __init__(self, command: list[str], environment: dict[str, str]):
        self.process = subprocess.Popen(command, env=os.environ | environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.discarded = 0

    def ask(self, line: str) -> dict:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"a worker failed: {self.process.args}")
        return json.loads(answer)

    def cpu_seconds(self) -> float:
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * TICK

    def ask_undisturbed(self, line: str) -> dict:
        for _ in range(MOST_DISCARDED):
            start, busy, own = time.perf_counter(), busy_seconds(), self.cpu_seconds()
            answer = self.ask(line)
            elapsed = time.perf_counter() - start
            foreign = (busy_seconds() - busy) - (self.cpu_seconds() - own)
            if foreign <= 0.05 * CORES * elapsed + TICK:  # what the clocks can tell
                return answer
            self.discarded += 1
        raise SystemExit(f"others took over 5 % of the cores {MOST_DISCARDED} times in a row")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def busy_seconds() -> float:
    """CPU time of all programs, and what was stolen from this machine."""
    with open("/proc/stat") as stat:
        fields = [int(f) for f in stat.readline().split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) * TICK


def peer_environment() -> dict[str, str]:
    """weft's own allocator and its settings (cli/allocator.cpp)."""
    jemalloc = ctypes.util.find_library("jemalloc")
    if jemalloc is None:
        raise SystemExit("libjemalloc is missing: scripts/setup installs it")
    return {"LD_PRELOAD": jemalloc,
            "MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1,oversize_threshold:0,narenas:1,"
                           "thp:always"}


def start(name: str, precision: str, program: str, threads: int) -> dict[str, Worker]:
    work = WORKS[name]
    workers = {"weft": Worker([program, f"{BENCH}/steps/{work.recipe}", f"threads={threads}",
                               f"precision.compute={precision}"], {})}
    for variant in work.variants:
        workers[variant] = Worker([sys.executable, f"{BENCH}/peer_step.py", name, precision,
                                   variant, str(work.rows), str(work.length), str(threads)],
                                  peer_environment())
    return workers


def warm_up(workers: dict[str, Worker], vocabulary: int) -> None:
    """Also sees that all do the same work: as many parameters, and a first loss near ln V."""
    for key, worker in workers.items():
        loss = worker.ask("step")["loss"]
        if abs(loss - math.log(vocabulary)) > 0.5:
            raise SystemExit(f"{key}: the first loss is {loss}, expected {math.log(vocabulary):.2f}")
        for _ in range(2):
            worker.ask("step")
    counts = {worker.ask("info")["parameters"] for worker in workers.values()}
    if len(counts) != 1:
        raise SystemExit(f"numbers of parameters differ: {counts}")


def compare(name: str, precision: str, program: str, threads: int, repetitions: int) -> str:
    work = WORKS[name]
    workers = start(name, precision, program, threads)
    warm_up(workers, work.vocabulary)
    flops = workers["weft"].ask("info")["flops"]
    times = {key: [] for key in workers}
    shares = []
    for i in range(repetitions):
        keys = list(workers)
        for key in keys[i % len(keys):] + keys[:i % len(keys)]:
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
    return (f"| {name} | {parameters / 1e6:.1f} M | {work.rows} x {work.length} | {precision} | "
            f"{median['weft']:.0f} | {median[fastest]:.0f} ({fastest}) | "
            f"{median[fastest] / median['weft']:.2f} | {100 * statistics.median(shares):.0f} % | "
            f"{memory['weft']:.0f} | {min(memory[v] for v in work.variants):.0f} | {discarded} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the built step_bench")
    parser.add_argument("--only", nargs="*", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--precision", nargs="*", choices=["fp32", "bf16"],
                        default=["fp32", "bf16"])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=CORES)
    arguments = parser.parse_args()
    print(f"{CORES} cores, {arguments.threads} threads, torch {torch.__version__}, transformers "
          f"{transformers.__version__}, medians of {arguments.repetitions} alternating steps\n")
    print("| work | parameters | batch | precision | weft, ms | fastest transformers, ms | ratio | "
          "share of matrix peak | weft, MiB | transformers, MiB | discarded |")
    print("|" + " --- |" * 11)
    for name in arguments.only:
        for precision in arguments.precision:
            print(compare(name, precision, arguments.program, arguments.threads,
                          arguments.repetitions), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
