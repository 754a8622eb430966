"""scripts/count_tests.py on result files as ctest and GoogleTest write them."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "count_tests.py"
CASES = """<testsuites><testsuite name="A">
<testcase name="Good" classname="A" status="run" result="completed"/>
<testcase name="Bad" classname="A" status="run" result="completed"><failure message="x"/></testcase>
<testcase name="Gpu" classname="A" status="run" result="skipped">
<skipped message="a.cpp:2&#x0A;no device"/></testcase>
<testcase name="DISABLED_Old" classname="A" status="notrun" result="suppressed"/>
</testsuite></testsuites>"""
GOOD_CASE = """<testsuites><testsuite name="B">
<testcase name="Good" classname="B" status="run" result="completed"/></testsuite></testsuites>"""


def count(files):
    """Runs the script on a folder {name: text}; returns (exit status, printed lines)."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        done = subprocess.run(
            [sys.executable, SCRIPT, folder], capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout.splitlines()


def junit(*tests):
    return f"<testsuite>{''.join(tests)}</testsuite>"


def entry(name, status, inside=""):
    return f'<testcase name="{name}" status="{status}">{inside}</testcase>'


class CountTests(unittest.TestCase):
    def test_a_program_counts_with_its_cases(self):
        status, lines = count(
            {
                "ctest.junit": junit(entry("base", "fail"), entry("cli/stop", "run")),
                "base_test.xml": CASES,
            }
        )
        self.assertEqual(status, 1)
        self.assertEqual(lines[-1], "2 passed, 1 failed")
        self.assertEqual(lines[lines.index("failed: A.Bad") + 1], "    x")
        self.assertIn("skipped: A.Gpu (no device)", lines)
        self.assertEqual(lines[-2].split()[:2], ["1", "skipped:"])

    def test_all_passed(self):
        status, lines = count(
            {"ctest.junit": junit(entry("models/x", "run")), "models_x_test.xml": GOOD_CASE}
        )
        self.assertEqual((status, lines), (0, ["1 passed, 0 failed"]))

    def test_a_program_that_fails_after_its_cases_is_a_failure(self):
        status, lines = count(
            {"ctest.junit": junit(entry("base", "fail")), "base_test.xml": GOOD_CASE}
        )
        self.assertEqual((status, lines[-1]), (1, "1 passed, 1 failed"))

    def test_a_program_that_ends_before_its_results_is_a_failure(self):
        printed = "<system-out>Running main() from gtest_main.cc</system-out>"
        status, lines = count({"ctest.junit": junit(entry("base", "run", printed))})
        self.assertEqual((status, lines[-1]), (1, "0 passed, 1 failed"))
        self.assertEqual(lines[:2], ["failed: base", "    Running main() from gtest_main.cc"])

    def test_a_program_that_is_not_there_is_a_failure_and_a_skip_is_not(self):
        status, lines = count(
            {
                "ctest.junit": junit(
                    entry("gone", "notrun", '<skipped message="Unable to find executable"/>'),
                    entry("gpu", "notrun", '<skipped message="SKIP_RETURN_CODE=77"/>'),
                )
            }
        )
        self.assertEqual((status, lines[-1]), (1, "0 passed, 1 failed"))
        self.assertIn("skipped: gpu", lines)

    def test_no_test_is_no_success(self):
        self.assertEqual(count({"ctest.junit": junit()}), (1, ["0 passed, 0 failed"]))
        status, lines = count({})
        self.assertEqual((status, lines[-1]), (1, "0 passed, 1 failed"))


if __name__ == "__main__":
    unittest.main()
