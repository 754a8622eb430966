"""Makes the tiny random checkpoints of the parity tests and what the reference computes from them.

    make_checkpoints.py OUT [--only NAME...]     every case of cases.py, or those named, to OUT/<case>
    make_checkpoints.py --fixtures DIR           the small ones that are committed

A folder is a Hugging Face checkpoint with two more files: ids.json, a list of token sequences, and
reference.safetensors (fp32) with `logits.<i>` and `loss.<i>` of each sequence alone, and of all of them
as one batch `loss`, `aux` and each parameter's gradient under the parameter's name on disk. All follows
from the case's name. A line for each case tells how far the reference itself is off in fp32.
The folder of a case that weft trains has recipe.yaml, the text and ids.json.
"""

import argparse
import json
import math
import shutil
import zlib
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import openelm
import reference
from cases import CASES, FIXTURES, TRAINED, Case, Trained

# Router probabilities closer than this could change places by rounding.
LEAST_ROUTING_GAP = 1e-3
# A loss far below the logits is a difference of almost equal numbers: fp32 cannot give it to 1e-6.
LEAST_LOSS = 2.0
# Of the reference in fp32: a model that amplifies rounding more than this tells nothing about weft.
MOST_LOGITS_NOISE = 3e-6


def uniform(like: Tensor, low: float, high: float, random: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(like.shape, generator=random)


def random_values(name: str, like: Tensor, random: torch.Generator) -> Tensor:
    """Values away from any initial ones, such that no part of a model drowns another."""
    normal = torch.randn(like.shape, generator=random)
    words = name.split(".")
    if words[-1] == "weight" and ("norm" in words[-2] or words[-2].startswith("ln_")):
        return uniform(like, 0.8, 1.2, random)
    if words[-1] == "A_log":
        return uniform(like, -0.5, 1.5, random)
    if words[-1] == "D":
        return uniform(like, 0.5, 1.5, random)
    if words[-1] == "dt_bias" or words[-2:] == ["dt_proj", "bias"]:
        return uniform(like, -3.0, 0.0, random)  # steps of 0.05 to 0.7
    if words[-1] == "bias":
        return 0.2 * normal
    if words[-2] == "wpe":
        return 0.4 * normal
    if "embed" in name or words[-2] in ("wte", "lm_head"):
        return 0.35 * normal  # logits of up to 10
    if words[-2] in ("router", "gate"):
        return 1.5 * normal / math.sqrt(like.shape[-1])
    fan_in = like.shape[0] if words[-2].startswith("c_") else like.shape[-1]  # GPT-2 stores [in, out]
    return normal / math.sqrt(fan_in)


def empty_model(case: Case) -> nn.Module:
    if case.family == "openelm":
        return openelm.OpenElm(case.full_config())
    config = transformers.AutoConfig.for_model(case.family, **case.full_config())
    return transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager").eval()


def random_model(case: Case, seed: int) -> nn.Module:
    random = torch.Generator().manual_seed(seed)
    model = empty_model(case)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(random_values(name, parameter, random))
    return model


def random_sequences(case: Case, seed: int) -> reference.Sequences:
    random = torch.Generator().manual_seed(seed)
    config = case.full_config()
    vocabulary = config["vocab_size"]
    sequences = [torch.randint(vocabulary, (n,), generator=random).tolist() for n in case.lengths]
    # The longest one meets both ends of the vocabulary and the padding's row, as input and as target.
    longest = max(sequences, key=len)
    longest[1:5] = [0, vocabulary - 1, config.get("pad_token_id", 0), 0]
    return sequences


def use_old_words(config: dict) -> dict:
    """The spelling of config.json before transformers 5, which most published files have."""
    config["torch_dtype"] = config.pop("dtype")
    if "rope_parameters" in config:
        scaling = config.pop("rope_parameters")
        config["rope_theta"] = scaling.pop("rope_theta")
        config["rope_scaling"] = None if scaling["rope_type"] == "default" else scaling
    if "time_step_limit" in config:
        config["time_step_limit"] = [0.0, math.inf]
    return config


def use_gpt2_files(folder: Path) -> None:
    """The names of the published files: no prefix, and the mask of each layer."""
    file = folder / "model.safetensors"
    tensors = {name.removeprefix("transformer."): t for name, t in load_file(file).items()}
    config = json.loads((folder / "config.json").read_text())
    n = config["n_positions"]
    for layer in range(config["n_layer"]):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(n, n).tril().view(1, 1, n, n)
    save_file(tensors, file, metadata={"format": "pt"})


def save(case: Case, model: nn.Module, folder: Path) -> None:
    dtype = getattr(torch, case.dtype)
    if case.family == "openelm":
        openelm.save(model, folder, dtype)
    else:
        model.to(dtype).save_pretrained(folder, max_shard_size=case.shard_size)
    if case.style == "old config":
        file = folder / "config.json"
        file.write_text(json.dumps(use_old_words(json.loads(file.read_text())), indent=2) + "\n")
    elif case.style == "gpt2 files":
        use_gpt2_files(folder)


def reference_values(folder: Path, sequences: reference.Sequences, dtype: torch.dtype) -> dict[str, Tensor]:
    model = reference.load(folder, dtype)
    return reference.logits_and_losses(model, sequences) | reference.gradients(model, sequences)


def noise(single: dict[str, Tensor], double: dict[str, Tensor]) -> dict[str, float]:
    """The largest errors of the fp32 reference, in the measures of the tests."""
    worst = {"logits": 0.0, "loss": 0.0, "gradients": 0.0}
    for name, truth in double.items():
        error = single[name].double() - truth.double()
        scale = truth.double()
        if name.startswith("logits."):
            kind, ratio = "logits", error.abs().max() / scale.abs().max()
        elif name == "aux" or name.startswith("loss"):
            kind, ratio = "loss", error.abs() / scale.abs().clamp(min=1e-30)
        else:
            kind, ratio = "gradients", error.norm() / scale.norm().clamp(min=1e-6)
        worst[kind] = max(worst[kind], ratio.item())
    return worst


def is_well_conditioned(model: nn.Module, sequences: reference.Sequences) -> bool:
    values = reference.logits_and_losses(model, sequences)
    losses = [values[f"loss.{i}"].item() for i, ids in enumerate(sequences) if len(ids) > 1]
    return (min(losses) > LEAST_LOSS
            and reference.routing_gap(model, sequences) > LEAST_ROUTING_GAP)


def try_seed(case: Case, folder: Path, seed: int) -> bool:
    """Makes the folder; false if its model, as it is stored, cannot be compared to the last digits."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sequences = random_sequences(case, seed)
    save(case, random_model(case, seed), folder)
    model = reference.load(folder, torch.float32)
    if not is_well_conditioned(model, sequences):
        return False
    single = reference_values(folder, sequences, torch.float32)
    double = reference_values(folder, sequences, torch.float64)
    worst = noise(single, double)
    if worst["logits"] > MOST_LOGITS_NOISE:
        return False
    (folder / "ids.json").write_text(json.dumps(sequences) + "\n")
    # In fp32 the reference itself is off by up to a third of what weft may be, so its result in fp64
    # is kept (norms and softmax, which transformers casts, stay in fp32).
    save_file({name: tensor.float().contiguous() for name, tensor in double.items()},
              folder / "reference.safetensors")
    gap = reference.routing_gap(model, sequences)
    largest = max(t.abs().max().item() for name, t in double.items() if name.startswith("logits."))
    print(f"{case.name:20} largest logit {largest:4.1f}; the reference's own error in fp32: "
          + ", ".join(f"{kind} {error:.1e}" for kind, error in worst.items())
          + (f"; routing gap {gap:.1e}" if gap < 1 else ""), flush=True)
    return True


def make(case: Case, folder: Path) -> None:
    seed = zlib.crc32(case.name.encode())
    while not try_seed(case, folder, seed):
        seed += 1


def make_trained(case: Trained, folder: Path) -> None:
    """What weft needs to train the model: a text, its recipe, and ids for the comparison."""
    random = torch.Generator().manual_seed(zlib.crc32(case.name.encode()))
    (folder / "text").mkdir(parents=True)
    letters = torch.randint(97, 123, (2000,), generator=random).tolist()
    (folder / "text" / "a.txt").write_bytes(bytes(letters))
    stage = {"steps": 2, "sequence_length": 32, "batch_tokens": 128,
             "data": {"sources": [{"path": str(folder / "text")}]},
             "schedule": {"kind": "wsd", "peak": 0.01, "warmup_steps": 1, "decay_steps": 1}}
    recipe = {"name": case.name, "seed": 1, "device": "cpu", "threads": 1,
              "model": {"hidden_size": 32, "num_layers": 2} | case.model,
              "stages": [stage], "precision": {"compute": "fp32"}}
    (folder / "recipe.yaml").write_text(json.dumps(recipe, indent=2) + "\n")
    ids = [torch.randint(257, (length,), generator=random).tolist() for length in (1, 2, 7, 19, 32)]
    (folder / "ids.json").write_text(json.dumps(ids) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--fixtures", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    if (arguments.out is None) == (arguments.fixtures is None):
        parser.error("either OUT or --fixtures DIR")
    cases = CASES + TRAINED if arguments.out else FIXTURES
    names = arguments.only or [case.name for case in cases]
    if unknown := set(names) - {case.name for case in cases}:
        parser.error(f"no case is called {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)  # the models are too small for more
    for case in cases:
        if case.name not in names:
            continue
        folder = (arguments.out or arguments.fixtures) / case.name
        if isinstance(case, Trained):
            make_trained(case, folder)
        else:
            make(case, folder)


if __name__ == "__main__":
    main()
