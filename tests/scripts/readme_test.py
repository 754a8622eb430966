"""README.md and the pages of docs/ name files that exist, and README's commands are real ones.

The environment variable WEFT_PROGRAM is the built program."""

import os
import re
import subprocess
import unittest
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = "base|parallel|models|data|optim|recipes|trainer|cli|configs|docs|scripts|tests|bench|cmake"
MENTION = re.compile(rf"(?<![\w./-])(?:\./)?((?:{FOLDERS})/[\w./-]*\w|\.ci/run)(?![\w*<])")


class Readme(unittest.TestCase):
    def test_every_file_that_a_page_names_is_there(self):
        pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        missing = [
            f"{page.name}: {name}"
            for page in pages
            for name in MENTION.findall(page.read_text(encoding="utf-8"))
            if not (ROOT / name).exists()
        ]
        self.assertEqual(missing, [])

    def test_every_command_and_option_is_the_programs_own(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `([a-z]+)[ `](.*)", readme, re.MULTILINE)
        self.assertEqual(len(rows), 10)
        calls = re.findall(r"scripts/weft ([a-z]+)(.*)", readme)
        for command, rest in rows + calls:
            help_text = subprocess.run(
                [os.environ["WEFT_PROGRAM"], command, "--help"],
                capture_output=True, text=True, timeout=60, check=True,
            ).stdout  # fmt: skip
            for option in re.findall(r"--[a-z-]+", rest):
                self.assertIn(option, help_text, f"of weft {command}")


if __name__ == "__main__":
    unittest.main()
