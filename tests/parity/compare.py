"""The comparisons of the parity tests, and their count. The tolerances are fixed: none may be widened."""

import torch
from torch import Tensor

LOGITS = 1e-5  # max |a - b| / max |ref|
LOSS = 1e-6  # |a - b| / |ref|
GRADIENT = 1e-4  # norm(a - b) / norm(ref) of each tensor,
TINY_NORM, TINY_GRADIENT = 1e-6, 1e-7  # and absolute where norm(ref) is below the first of these

Tensors = dict[str, Tensor]


class Report:
    """Prints a line for each check and counts them."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def add(self, case: str, check: str, problem: str, figures: str = "") -> None:
        """A check has passed when there is no problem."""
        self.failed += bool(problem)
        self.passed += not problem
        print(f"{'FAILED' if problem else 'passed'}  {case:20} {check:10} {problem or figures}", flush=True)

    def finish(self) -> int:
        print(f"{self.passed} passed, {self.failed} failed")
        return 0 if self.passed and not self.failed else 1


def listed(names: set[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def difference_in_form(found: Tensors, expected: Tensors) -> str:
    """What differs in names, shapes and dtypes; empty when nothing does."""
    problems = []
    if missing := set(expected) - set(found):
        problems.append(f"missing: {listed(missing)}")
    if extra := set(found) - set(expected):
        problems.append(f"not in the reference: {listed(extra)}")
    for name in sorted(set(found) & set(expected)):
        a, b = found[name], expected[name]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            problems.append(f"{name} is {a.dtype} {list(a.shape)}, not {b.dtype} {list(b.shape)}")
    return "; ".join(problems[:5])


def logits_error(found: Tensor, expected: Tensor) -> float:
    found, expected = found.double(), expected.double()
    return ((found - expected).abs().max() / expected.abs().max()).item()


def loss_error(found: Tensor, expected: Tensor) -> float:
    found, expected = found.double(), expected.double()
    if expected == 0:  # of a sequence of one token, or without experts
        return 0.0 if found == 0 else float("inf")
    return ((found - expected).abs() / expected.abs()).item()


def gradient_error(found: Tensor, expected: Tensor) -> float:
    """In units of what is allowed for this tensor, times GRADIENT."""
    error = (found.double() - expected.double()).norm().item()
    norm = expected.double().norm().item()
    return error / norm if norm >= TINY_NORM else error / TINY_GRADIENT * GRADIENT


def check_errors(report: Report, case: str, check: str, errors: dict[str, float], limit: float) -> None:
    """Fails when an error is above the limit or not a number."""
    if not errors:
        report.add(case, check, "nothing to compare")
        return
    worst = max(errors, key=lambda name: errors[name] if errors[name] == errors[name] else float("inf"))
    figures = f"{errors[worst]:.1e} of {limit:.0e} ({worst}; {len(errors)} compared)"
    above = {name for name, error in errors.items() if not error <= limit}
    report.add(case, check, f"{figures}; above it: {listed(above)}" if above else "", figures)


def check_same_bits(report: Report, case: str, check: str, found: Tensors, expected: Tensors) -> None:
    problem = difference_in_form(found, expected)
    if not problem:
        changed = {name for name in expected if not same_bits(found[name], expected[name])}
        problem = f"other values: {listed(changed)}" if changed else ""
    report.add(case, check, problem, f"{len(expected)} tensors, bit for bit")


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
