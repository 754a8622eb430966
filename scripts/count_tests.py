"""Counts the test cases of one or more ctest runs.

    count_tests.py RESULTS...

RESULTS is a folder with ctest's `ctest.junit` and the XML file of each GoogleTest program, whose
name is that of its ctest with `_test.xml` at the end. Such a program counts with its cases, any
other test as one. Names the skipped and the failed cases, these with the first lines of what they
say (the last lines of what a program printed); the last line is `N passed, N failed`.
Exit status 1 when a case failed, a run has no results, or nothing passed.
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
SHOWN_LINES = 20


def gtest_outcomes(file):
    """(case, outcome, lines that a failed one says) of each case that a GoogleTest program ran."""
    for case in ElementTree.parse(file).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None:
            failures = [failure.get("message", "") for failure in case.iter("failure")]
            yield name, FAILED, "\n".join(failures).splitlines()[:SHOWN_LINES]
        elif case.get("result") == "skipped":
            reason = case.find("skipped").get("message", "").strip().split("\n")[-1]
            yield f"{name} ({reason})", SKIPPED, []
        elif case.get("status") == "run":
            yield name, PASSED, []


def test_outcomes(test, folder):
    """(case, outcome, lines) of each case in one entry of ctest's file."""
    name = test.get("name")
    status = {"run": PASSED, "disabled": SKIPPED, "notrun": SKIPPED}.get(test.get("status"), FAILED)
    # ctest writes `notrun` also for a program that is not there; only a test's own word is a skip.
    skipped = test.find("skipped")
    if status == SKIPPED and skipped is not None and "SKIP" not in skipped.get("message", ""):
        status = FAILED
    printed = test.findtext("system-out") or ""
    cases = []
    file = folder / f"{name.replace('/', '_')}_test.xml"
    if file.exists():
        cases = list(gtest_outcomes(file))
    elif "gtest_main.cc" in printed:
        status = FAILED  # it ended before it could write its results
    if not cases or (status == FAILED and FAILED not in (outcome for _, outcome, _ in cases)):
        lines = printed.splitlines()[-SHOWN_LINES:] if status == FAILED else []
        cases.append((name, status, lines))
    return cases


def outcomes_of_run(folder):
    """(case, outcome, lines) of one ctest run; a run without results is one failed case."""
    try:
        tests = list(ElementTree.parse(folder / "ctest.junit").iter("testcase"))
    except (OSError, ElementTree.ParseError) as problem:
        return [(f"no results in {folder}: {problem}", FAILED, [])]
    return [case for test in tests for case in test_outcomes(test, folder)]


def main(folders):
    outcomes = [case for folder in folders for case in outcomes_of_run(Path(folder))]
    for outcome in (SKIPPED, FAILED):
        for name, its_outcome, lines in outcomes:
            if its_outcome == outcome:
                print(f"{outcome}: {name}")
                for line in lines:
                    print(f"    {line}")
    counts = {kind: sum(o == kind for _, o, _ in outcomes) for kind in (PASSED, FAILED, SKIPPED)}
    if counts[SKIPPED]:
        print(f"{counts[SKIPPED]} skipped: they need what this machine lacks")
    print(f"{counts[PASSED]} passed, {counts[FAILED]} failed")
    return 0 if counts[PASSED] and not counts[FAILED] else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
