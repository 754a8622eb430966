"""Processes that work on demand: weft's (step_bench, kernel_bench) and its peers' (peer_*.py).

Each waits for its turn. A step during which other programs took over 5 % of the cores is discarded
and repeated.
"""

import ctypes.util
import glob
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

BENCH = os.path.dirname(os.path.abspath(__file__))
CORES = len(os.sched_getaffinity(0))
TICK = 1 / os.sysconf("SC_CLK_TCK")
MOST_DISCARDED = 20  # steps in a row


class Setup(NamedTuple):
    """What all processes of a run have in common."""
    folder: str  # of weft's programs
    threads: int
    device: str  # cpu or cuda


class WorkerFailed(Exception):
    """The process ended before it answered."""

    def __init__(self, command: str, words: str, status: int):
        super().__init__(f"{command} ended with status {status}:\n{words[-2000:]}")
        missing = ("allocate", "bad_alloc", "memoryerror", "out of memory")
        self.lacks_memory = status == -9 or any(word in words.lower() for word in missing)


class Worker:
    """A process that answers each line with a line of JSON.

    `data_limit`: bytes of anonymous memory that it may have (RLIMIT_DATA).
    """

    def __init__(self, command: list[str], environment: dict[str, str],
                 data_limit: int | None = None):
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_DATA, (data_limit, data_limit))

        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, env=os.environ | environment, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.errors,
            preexec_fn=limit if data_limit else None)
        self.discarded = 0

    def ask(self, line: str) -> dict:
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.process.wait()
            self.errors.seek(0)
            raise WorkerFailed(" ".join(self.process.args), self.errors.read().strip(),
                               self.process.returncode)
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


def machine(device: str = "cpu") -> str:
    """What figures depend on: processor, instructions for bf16, caches of a core, the GPU."""
    cpu = {}
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            cpu.setdefault(key.strip(), value.strip())
    units = [name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
             if name in cpu.get("flags", "").split()]
    caches = []
    for folder in sorted(glob.glob("/sys/devices/system/cpu/cpu0/cache/index*")):
        level, kind, size = (pathlib.Path(folder, name).read_text().strip()
                             for name in ("level", "type", "size"))
        if kind != "Instruction":
            caches.append(f"L{level} {size}")
    family = ", ".join(f"{key.removeprefix('cpu ')} {cpu[key]}" for key in ("cpu family", "model")
                       if key in cpu)
    gpu = []
    if device == "cuda":
        import torch

        gpu.append(f"{torch.cuda.get_device_name()} (CUDA {torch.version.cuda})")
    return ", ".join([*gpu, f"{CORES} cores of {cpu.get('model name', 'an unknown processor')} ({family})",
                      *units[:1], *caches])


def busy_seconds() -> float:
    """CPU time of all programs, and what was stolen from this machine."""
    with open("/proc/stat") as stat:
        fields = [int(f) for f in stat.readline().split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) * TICK


def weft(setup: Setup, recipe: str, settings: list[str], data_limit: int | None = None) -> Worker:
    """A step_bench of bench/steps/RECIPE with KEY=VALUE settings."""
    common = [f"threads={setup.threads}", f"device={setup.device}"]
    return Worker([f"{setup.folder}/step_bench", f"{BENCH}/steps/{recipe}", *common, *settings], {},
                  data_limit)


def weft_kernels(setup: Setup) -> Worker:
    return Worker([f"{setup.folder}/kernel_bench", setup.device, str(setup.threads)], {})


def allocators(device: str) -> dict[str, dict[str, str]]:
    """Settings a peer can run with: weft's own (cli/allocator.cpp), and the C library's.

    On a GPU torch has an allocator of its own.
    """
    if device != "cpu":
        return {"malloc": {}}
    jemalloc = ctypes.util.find_library("jemalloc")
    if jemalloc is None:
        raise SystemExit("libjemalloc is missing: scripts/setup installs it")
    kept = ("dirty_decay_ms:-1,muzzy_decay_ms:-1,oversize_threshold:0,narenas:1,thp:always,"
            "retain:false")
    return {"pages kept": {"LD_PRELOAD": jemalloc, "MALLOC_CONF": kept}, "malloc": {}}


def peer(setup: Setup, arguments: list[str], allocator: str,
         data_limit: int | None = None) -> Worker:
    """A peer_step.py with one of the allocators."""
    return Worker([sys.executable, f"{BENCH}/peer_step.py", *arguments, str(setup.threads),
                   setup.device], allocators(setup.device)[allocator], data_limit)


def kernel_peer(setup: Setup, name: str) -> Worker:
    return Worker([sys.executable, f"{BENCH}/peer_kernels.py", setup.device, str(setup.threads),
                   name], next(iter(allocators(setup.device).values())))


def table_head(columns: list[str]) -> str:
    return "| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns)


def table_row(cells: list[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
