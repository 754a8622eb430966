"""scripts/check_layers.py on trees made for the purpose: what it finds, and what it lets pass."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_layers.py"


def check(files):
    """Runs the script on a tree {path: text}; returns (exit status, printed lines)."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = Path(root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        done = subprocess.run(
            [sys.executable, SCRIPT, root], capture_output=True, text=True, timeout=60
        )
        return done.returncode, (done.stdout + done.stderr).splitlines()


class CheckLayers(unittest.TestCase):
    def assert_passes(self, files):
        status, lines = check(files)
        self.assertEqual(status, 0, lines)

    def assert_complains(self, path, line, words):
        status, lines = check({path: line + "\n"})
        self.assertEqual(status, 1, lines)
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith(f"{path}:1: "), lines)
        self.assertIn(words, lines[0])

    def test_what_stands_to_the_right_may_be_included(self):
        self.assert_passes(
            {
                "cli/main.cpp": '#include "trainer/loop.h"\n#include <CLI/CLI.hpp>\n',
                "trainer/loop.cpp": '#include "recipes/recipe.h"\n#include "models/head.h"\n',
                "recipes/load.cpp": '#include "optim/clip.h"\n#include <yaml-cpp/yaml.h>\n',
                "models/block.cpp": '#include "models/kernels/scan.h"\n#include "base/check.h"\n',
                "data/loader.cpp": '#include <pcre2.h>\n#include "absl/strings/str_cat.h"\n',
                "parallel/mpi.cpp": "#include <mpi.h>\n",
                "base/file.cpp": "#include <sys/mman.h>\nint flush(int f) { return fsync(f); }\n",
            }
        )

    def test_nothing_points_back(self):
        self.assert_complains("base/log.cpp", '#include "parallel/mesh.h"', "base must not include")
        self.assert_complains("recipes/plan.h", '  #  include "trainer/loop.h"', "must not include")
        self.assert_complains("trainer/loop.cpp", '#include "cli/train.h"', "must not include cli")

    def test_models_data_and_optim_are_strangers(self):
        for one in ("models", "data", "optim"):
            for other in {"models", "data", "optim"} - {one}:
                self.assert_complains(f"{one}/a.cpp", f'#include "{other}/b.h"', "must not include")

    def test_kernels_are_below_models(self):
        self.assert_complains("models/kernels/scan.cpp", '#include "models/mamba.h"', "must not")
        self.assert_complains("models/kernels/cuda/scan.cu", '#include "parallel/mesh.h"', "must not")

    def test_third_party_headers_have_their_folder(self):
        self.assert_complains("trainer/a.cpp", "#include <mpi.h>", "is for parallel, not trainer")
        self.assert_complains("cli/a.cpp", "#include <yaml-cpp/yaml.h>", "is for recipes")
        self.assert_complains("trainer/a.cpp", "#include <CLI/CLI.hpp>", "is for cli")
        self.assert_complains("models/a.cpp", "#include <sentencepiece_processor.h>", "is for data")
        self.assert_complains("data/a.cpp", "#include <sys/mman.h>", "is for base")
        self.assert_complains("models/a.cpp", "#include <torch/torch.h>", "is for no folder")

    def test_fsync_is_called_in_base_alone(self):
        self.assert_complains("trainer/a.cpp", "void f() { fsync(3); }", "fsync is for base")
        self.assert_passes({"trainer/a.cpp": "// Calls fsync(2) through base.\n"})

    def test_paths_start_at_the_root(self):
        self.assert_complains("models/a.cpp", '#include "block.h"', "start at the root")
        self.assert_complains("models/a.cpp", "#include <base/check.h>", "in quotes")

    def test_tests_and_benchmarks_may_include_anything(self):
        self.assert_passes(
            {"base/a.h": "", "tests/base/a_test.cpp": '#include "cli/train.h"\n#include <mpi.h>\n'}
        )

    def test_an_empty_tree_is_no_success(self):
        status, lines = check({})
        self.assertEqual(status, 1)
        self.assertIn("no source files", lines[0])


if __name__ == "__main__":
    unittest.main()
