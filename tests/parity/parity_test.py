"""Compares weft with what the reference computed, for each checkpoint that make_checkpoints.py made,
and the reference with what weft has trained and exported.

    WEFT_PROGRAM=build/cpu/weft parity_test.py FOLDER [--only NAME...]

FOLDER holds one folder a case. A line for each check tells the largest error and what is allowed; the
last line is `N passed, N failed`. Exit status 1 when a check failed or nothing was compared.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

import reference
from compare import (GRADIENT, LOGITS, LOSS, Report, Tensors, check_errors, check_same_bits,
                     difference_in_form, gradient_error, logits_error, loss_error)

SECONDS = 120  # for one command; it takes a fraction of one


class WeftFailed(Exception):
    pass


def weft(*arguments: str | Path) -> None:
    try:
        run = subprocess.run([os.environ["WEFT_PROGRAM"], *map(str, arguments)], text=True,
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise WeftFailed(f"weft {arguments[0]} takes more than {SECONDS} s") from None
    if run.returncode != 0:
        words = (run.stderr or run.stdout).strip()[-600:]
        raise WeftFailed(f"weft {arguments[0]} ended with status {run.returncode}: {words}")


def is_of_one_sequence(name: str) -> bool:
    return re.fullmatch(r"(logits|loss)\.\d+", name) is not None


def check_logits(report: Report, case: str, found: Tensors, expected: Tensors) -> None:
    report.add(case, "outputs", difference_in_form(found, expected), f"{len(expected)} tensors")
    common = set(found) & set(expected)
    logits = {n: logits_error(found[n], expected[n]) for n in common
              if n.startswith("logits.") and found[n].shape == expected[n].shape}
    losses = {n: loss_error(found[n], expected[n]) for n in common if n.startswith("loss.")}
    check_errors(report, case, "logits", logits, LOGITS)
    check_errors(report, case, "losses", losses, LOSS)


def check_gradients(report: Report, case: str, found: Tensors, expected: Tensors) -> None:
    report.add(case, "parameters", difference_in_form(found, expected), f"{len(expected) - 2} tensors")
    common = set(found) & set(expected)
    scalars = {n: loss_error(found[n], expected[n]) for n in common & {"loss", "aux"}}
    tensors = {n: gradient_error(found[n], expected[n]) for n in common - {"loss", "aux"}
               if found[n].shape == expected[n].shape}
    check_errors(report, case, "batch loss", scalars, LOSS)
    check_errors(report, case, "gradients", tensors, GRADIENT)


def stored_tensors(folder: Path) -> Tensors:
    """The tensors of a checkpoint; GPT-2's all with the prefix, which the published files lack."""
    tensors: Tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        if file.name != "reference.safetensors":
            tensors |= load_file(file)
    if reference.family_of(folder) != "gpt2":
        return tensors
    return {f"transformer.{name.removeprefix('transformer.')}": t for name, t in tensors.items()}


def parameters_alone(tensors: Tensors) -> Tensors:
    """Without the masks of published GPT-2 files, which nobody writes any more."""
    return {name: tensor for name, tensor in tensors.items()
            if not re.fullmatch(r"transformer\.h\.\d+\.attn\.bias", name)}


def configuration(folder: Path) -> dict:
    """config.json as transformers understands it, so that old and new words are the same."""
    if reference.family_of(folder) == "openelm":
        return json.loads((folder / "config.json").read_text())
    fields = transformers.AutoConfig.from_pretrained(folder).to_dict()
    about_the_file = ("transformers_version", "_name_or_path")
    return {name: value for name, value in fields.items() if name not in about_the_file}


def check_export(report: Report, case: str, exported: Path, original: Path,
                 sequences: reference.Sequences) -> None:
    check_same_bits(report, case, "tensors", stored_tensors(exported),
                    parameters_alone(stored_tensors(original)))
    new, old = configuration(exported), configuration(original)
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    report.add(case, "config", f"other fields: {', '.join(sorted(changed))}" if changed else "",
               f"{len(old)} fields")
    try:
        model = reference.load(exported, torch.float32)  # fails on any key that does not fit
    except Exception as problem:  # whatever the package raises, it is this check's result
        report.add(case, "reload", f"the reference does not load it: {problem}")
        return
    before = reference.logits_and_losses(reference.load(original, torch.float32), sequences)
    after = reference.logits_and_losses(model, sequences)
    errors = {n: logits_error(after[n], before[n]) for n in before if n.startswith("logits.")}
    check_errors(report, case, "reload", errors, 1e-6)


def check_case(report: Report, folder: Path, work: Path) -> None:
    case, ids = folder.name, folder / "ids.json"
    expected = load_file(folder / "reference.safetensors")
    single = {name: tensor for name, tensor in expected.items() if is_of_one_sequence(name)}
    batch = {name: tensor for name, tensor in expected.items() if name not in single}
    out, again, checkpoint, exported = (work / name for name in ("a", "b", "checkpoint", "exported"))
    try:
        weft("logits", folder, "--ids", ids, "--out", out, "--compute", "fp32")
        found = load_file(out)
        check_logits(report, case, found, single)
        weft("grads", folder, "--ids", ids, "--out", out, "--compute", "fp32")
        check_gradients(report, case, load_file(out), batch)
        weft("import", folder, "--out", checkpoint)
        weft("logits", checkpoint, "--ids", ids, "--out", again, "--compute", "fp32")
        check_same_bits(report, case, "imported", load_file(again), found)
        weft("export", checkpoint, "--out", exported)
        check_export(report, case, exported, folder, json.loads(ids.read_text()))
    except WeftFailed as failure:
        report.add(case, "program", str(failure))


def document_ends(folder: Path) -> str:
    """What is wrong with the ids of a run's export: 256 is before and after each document."""
    problems = []
    for name in ("config.json", "generation_config.json"):
        members = json.loads((folder / name).read_text())
        found = {word: members.get(word) for word in ("bos_token_id", "eos_token_id")}
        if set(found.values()) != {256}:
            problems.append(f"{name} has {found}")
    return "; ".join(problems)


def check_trained(report: Report, folder: Path, work: Path) -> None:
    """A run's export, whose config.json has no source, in the reference."""
    case, ids = folder.name, folder / "ids.json"
    run, out, exported = (work / name for name in ("run", "out", "exported"))
    try:
        weft("train", folder / "recipe.yaml", "--run-dir", run)
        weft("logits", run, "--ids", ids, "--out", out, "--compute", "fp32")
        found = load_file(out)
        weft("grads", run, "--ids", ids, "--out", out, "--compute", "fp32")
        gradients = load_file(out)
        weft("export", run, "--out", exported)
    except WeftFailed as failure:
        report.add(case, "program", str(failure))
        return
    report.add(case, "ids", document_ends(exported), "bos and eos")
    try:
        model = reference.load(exported, torch.float64)  # fails on any key that does not fit
    except Exception as problem:  # whatever the package raises, it is this check's result
        report.add(case, "load", f"the reference does not load it: {problem}")
        return
    sequences = json.loads(ids.read_text())
    expected = reference.logits_and_losses(model, sequences)
    check_logits(report, case, found, {n: t.float() for n, t in expected.items()})
    expected = reference.gradients(model, sequences)
    check_gradients(report, case, gradients, {n: t.float() for n, t in expected.items()})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    arguments = parser.parse_args()
    if "WEFT_PROGRAM" not in os.environ:
        parser.error("WEFT_PROGRAM names the program to test")
    folders = [arguments.folder / name for name in arguments.only or sorted(os.listdir(arguments.folder))]
    torch.set_num_threads(1)  # the models are too small for more
    report = Report()
    for folder in folders:
        with tempfile.TemporaryDirectory() as work:
            trained = (folder / "recipe.yaml").exists()
            (check_trained if trained else check_case)(report, folder, Path(work))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
