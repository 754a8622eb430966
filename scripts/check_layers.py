"""Holds every #include of weft's folders against their order.

    check_layers.py [ROOT]

    cli -> trainer -> recipes -> { models, data, optim } -> parallel -> base

A folder may include itself and what stands to its right; models, data and optim never include each
other, and models/kernels, which is below models and optim, includes base alone. Some third-party headers have
one owner. Prints `file:line: complaint` for each break; exit status 1 when there is one.
"""

import re
import sys
from pathlib import Path

ORDER = {
    "base": set(),
    "parallel": {"base"},
    "models/kernels": {"base"},
    "models": {"base", "parallel", "models/kernels"},
    "data": {"base", "parallel"},
    "optim": {"base", "parallel", "models/kernels"},
    "recipes": {"base", "parallel", "models", "data", "optim"},
    "trainer": {"base", "parallel", "models", "models/kernels", "data", "optim", "recipes"},
    "cli": {"base", "parallel", "models", "models/kernels", "data", "optim", "recipes", "trainer"},
}
# Header (as a pattern over the whole path) -> the only folders that may use it.
OWNERS = {
    r"mpi\.h|nccl\.h": {"parallel"},
    r"yaml-cpp/.*": {"recipes"},
    r"CLI/.*": {"cli"},
    r"sentencepiece.*|pcre2\.h": {"data"},
    r"sys/mman\.h": {"base"},
    r"cuda.*\.h|cublas.*\.h": {"parallel", "models/kernels"},
    r"torch/torch\.h": set(),
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# fsync is declared in a header that everyone needs, so its calls are looked for.
FSYNC = re.compile(r"\bf(?:data)?sync\s*\(")
SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}


def folder_of(path):
    """The entry of ORDER that a path (relative to the root) belongs to, or None."""
    if path.startswith("models/kernels/"):
        return "models/kernels"
    first = path.split("/", 1)[0]
    return first if first in ORDER and "/" in path else None


def complaint_about(folder, quote, header):
    """What is wrong with `header` included from `folder`; None if nothing is."""
    for pattern, owners in OWNERS.items():
        if re.fullmatch(pattern, header) and folder not in owners:
            where = " and ".join(sorted(owners)) or "no folder"
            return f"<{header}> is for {where}, not {folder}"
    target = folder_of(header)
    if quote == "<":
        return f"<{header}> is weft's own: write it in quotes" if target else None
    if target is None and not header.startswith("absl/"):
        return f'"{header}" does not start at the root of the checkout'
    if target not in ORDER[folder] | {folder, None}:
        return f"{folder} must not include {target} ({header})"
    return None


def complaints_in(root, path):
    name = path.relative_to(root).as_posix()
    folder = folder_of(name)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        include = INCLUDE.match(line)
        complaint = include and complaint_about(folder, include[1], include[2])
        if not include and folder != "base" and FSYNC.search(line.split("//")[0]):
            complaint = f"fsync is for base, not {folder}"
        if complaint:
            yield f"{name}:{number}: {complaint}"


def main(root):
    files = sorted(
        path
        for folder in ORDER
        if "/" not in folder
        for path in (root / folder).rglob("*")
        if path.suffix in SUFFIXES and path.is_file()
    )
    if not files:
        sys.exit(f"check_layers: no source files under {root}")
    complaints = [complaint for path in files for complaint in complaints_in(root, path)]
    print("\n".join(complaints) or f"check_layers: {len(files)} files keep the order")
    return 1 if complaints else 0


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) == 2 else Path(__file__).parents[1])))
