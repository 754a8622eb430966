"""Runs the parts of scripts/bench, in Markdown."""

import argparse
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import kernels
import lengths
import slices
import steps
from workers import CORES, Setup, machine

PARTS = ("steps", "kernels", "slices", "longest", "peaks")
CPU_ONLY = "longest"  # its limit is of the system's memory


def versions() -> str:
    found = []
    for package in ("torch", "transformers", "mambapy", "mamba-ssm"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Weft beside its peers, in one run: whole training steps (steps), attention and the "
                    "selective scan (kernels), what mini-sequences and longer sequences cost "
                    "(slices), the longest step under a limit of memory (longest; CPU only), peak "
                    "memory against length (peaks).",
        epilog="example: scripts/bench steps --only llama --precision bf16")
    parser.add_argument("folder", help=argparse.SUPPRESS)  # of weft's programs, from scripts/bench
    parser.add_argument("parts", nargs="*", help=f"some of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--only", nargs="+", choices=list(steps.WORKS), default=[],
                        help="works of steps")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"],
                        default=["fp32", "bf16"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--limit", type=float, default=2.5, metavar="GIB",
                        help="memory of the longest step")
    parser.add_argument("--most-tokens", type=int, default=65536, metavar="N",
                        help="longest step that is tried: a step takes minutes at 32768 tokens")
    parser.add_argument("--most", type=float, metavar="GIB",
                        help="memory of peaks, beyond which a curve ends (default: 8, cuda: 64)")
    parser.add_argument("--plot", metavar="FILE.svg",
                        help="where peaks draws memory against length (default: peaks.svg in the "
                             "build folder's bench/)")
    arguments = parser.parse_intermixed_args()
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"no part '{part}'; there are {', '.join(PARTS)}")
    if arguments.device == "cuda" and CPU_ONLY in arguments.parts:
        parser.error(f"part '{CPU_ONLY}' is for --device cpu")
    parts = arguments.parts or [part for part in PARTS
                                if arguments.device == "cpu" or part != CPU_ONLY]
    setup = Setup(arguments.folder, arguments.threads, arguments.device)
    print(f"{machine(setup.device)}; {setup.threads} threads; {versions()}\n", flush=True)
    if "steps" in parts:
        steps.report(setup, arguments.repetitions, arguments.only, arguments.precision)
    if "kernels" in parts:
        kernels.report(setup, arguments.repetitions, arguments.precision)
    if "slices" in parts:
        slices.report(setup, arguments.repetitions, arguments.precision)
    if "longest" in parts:
        lengths.report_longest(setup, arguments.precision, arguments.limit, arguments.most_tokens)
    if "peaks" in parts:
        plot = arguments.plot or str(Path(setup.folder, "peaks.svg"))
        most = arguments.most or (8 if setup.device == "cpu" else 64)
        lengths.report_peaks(setup, arguments.precision, most, plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
