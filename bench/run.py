"""Runs the parts of scripts/bench, in Markdown."""

import argparse
from importlib.metadata import version
from pathlib import Path

import lengths
import slices
import steps
from workers import CORES, machine

PARTS = ("steps", "slices", "longest", "peaks")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Whole training steps of weft beside its peers, in one run: speed (steps), what "
                    "mini-sequences and longer sequences cost (slices), the longest step under a "
                    "limit of memory (longest), peak memory against length (peaks).",
        epilog="example: scripts/bench steps --only llama --precision bf16")
    parser.add_argument("program", help=argparse.SUPPRESS)  # given by scripts/bench
    parser.add_argument("parts", nargs="*", help=f"some of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--only", nargs="+", choices=list(steps.WORKS), default=[],
                        help="works of steps")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"],
                        default=["fp32", "bf16"])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--limit", type=float, default=2.5, metavar="GIB",
                        help="memory of the longest step")
    parser.add_argument("--most-tokens", type=int, default=65536, metavar="N",
                        help="longest step that is tried: a step takes minutes at 32768 tokens")
    parser.add_argument("--most", type=float, default=8, metavar="GIB",
                        help="memory of peaks, beyond which a curve ends")
    parser.add_argument("--plot", metavar="FILE.svg",
                        help="where peaks draws memory against length (default: peaks.svg beside "
                             "step_bench)")
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"no part '{part}'; there are {', '.join(PARTS)}")
    parts = arguments.parts or PARTS
    program, threads = arguments.program, arguments.threads
    print(f"{machine()}; {threads} threads; torch {version('torch')}, transformers "
          f"{version('transformers')}, mambapy {version('mambapy')}\n")
    if "steps" in parts:
        steps.report(program, threads, arguments.repetitions, arguments.only, arguments.precision)
    if "slices" in parts:
        slices.report(program, threads, arguments.repetitions, arguments.precision)
    if "longest" in parts:
        lengths.report_longest(program, threads, arguments.precision, arguments.limit,
                               arguments.most_tokens)
    if "peaks" in parts:
        plot = arguments.plot or str(Path(program).with_name("peaks.svg"))
        lengths.report_peaks(program, threads, arguments.precision, arguments.most, plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
