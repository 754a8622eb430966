"""What the reference says of a Hugging Face folder: logits, losses, and gradients as on disk."""

import copy
import json
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

import openelm

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

Sequences = list[list[int]]


def family_of(folder: Path) -> str:
    return json.loads((folder / "config.json").read_text())["model_type"]


def load(folder: Path, dtype: torch.dtype) -> nn.Module:
    """The model in `dtype`, whatever dtype its tensors are stored in; fails on any key that does not fit."""
    if family_of(folder) == "openelm":
        return openelm.load(folder, dtype)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True)
    wrong = {what: sorted(keys) for what, keys in info.items() if keys}
    if wrong:
        raise ValueError(f"{folder} does not fit its config.json: {wrong}")
    return model.eval()


def reset_rope(model: nn.Module) -> None:
    """Forgets the longest sequence seen: the scaled base of dynamic RoPE depends on it."""
    inner = getattr(model, "model", None)
    if hasattr(inner, "rotary_emb"):
        inner.rotary_emb = type(inner.rotary_emb)(model.config)


def forward(model: nn.Module, ids: list[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logits [T, V] of one sequence alone, and each expert layer's router logits [T, E]."""
    if isinstance(model, openelm.OpenElm):
        return model(torch.tensor(ids)), ()
    reset_rope(model)
    experts = has_experts(model)
    extra = {"output_router_logits": True} if experts else {}
    output = model(input_ids=torch.tensor([ids]), use_cache=False, **extra)
    return output.logits[0], tuple(output.router_logits) if experts else ()


def has_experts(model: nn.Module) -> bool:
    """Jamba hands out router logits only where it has experts."""
    config = getattr(model, "config", None)
    return getattr(config, "num_local_experts", 1) > 1


def loss_sum(logits: Tensor, ids: list[int]) -> Tensor:
    """Sum of the negative log-likelihoods of all tokens but the first."""
    targets = torch.tensor(ids[1:], dtype=torch.long)
    return F.cross_entropy(logits[:-1].double(), targets, reduction="sum")


def logits_and_losses(model: nn.Module, sequences: Sequences) -> dict[str, Tensor]:
    """`logits.<i>` and `loss.<i>` of each sequence alone."""
    results: dict[str, Tensor] = {}
    for i, ids in enumerate(sequences):
        with torch.no_grad():
            logits, _ = forward(model, ids)
        results[f"logits.{i}"] = logits
        results[f"loss.{i}"] = loss_sum(logits, ids) / max(len(ids) - 1, 1)
    return results


def pooled_aux_loss(model: nn.Module, routers: list[tuple[Tensor, ...]]) -> Tensor:
    """The family's own balance loss, of all tokens of all sequences at once."""
    if not getattr(getattr(model, "config", None), "output_router_logits", False):
        return torch.zeros((), dtype=torch.float64)
    balance = sys.modules[type(model).__module__].load_balancing_loss_func
    layers = tuple(torch.cat(layer) for layer in zip(*routers, strict=True))
    return balance(layers, model.num_experts, model.num_experts_per_tok)


def on_disk_gradients(model: nn.Module) -> dict[str, Tensor]:
    """Gradients named and laid out as the parameters are in a file.

    transformers joins experts in memory and parts them when it saves, so a copy of the model that holds
    the gradients in place of the parameters is saved and read back.
    """
    gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad
                 for name, p in model.named_parameters()}
    if isinstance(model, openelm.OpenElm):
        return gradients
    model.zero_grad()
    holder = copy.deepcopy(model)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for name, parameter in holder.named_parameters():
            parameter.copy_(gradients[name])
        holder.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def gradients(model: nn.Module, sequences: Sequences) -> dict[str, Tensor]:
    """Every parameter's gradient of the loss of all sequences as one batch; `loss` and `aux` too."""
    runs = [forward(model, ids) for ids in sequences]
    targets = sum(len(ids) - 1 for ids in sequences)
    loss = sum(loss_sum(logits, ids) for (logits, _), ids in zip(runs, sequences)) / targets
    aux = pooled_aux_loss(model, [routers for _, routers in runs])
    if aux != 0:
        loss = loss + model.router_aux_loss_coef * aux
    model.zero_grad()
    loss.backward()
    return on_disk_gradients(model) | {"loss": loss.detach(), "aux": aux.detach()}


def routing_gap(model: nn.Module, sequences: Sequences) -> float:
    """The least difference between the last chosen expert's probability and the next one's."""
    gap = 1.0
    if not has_experts(model):
        return gap
    k = model.num_experts_per_tok
    for ids in sequences:
        with torch.no_grad():
            for layer in forward(model, ids)[1]:
                ranked = layer.softmax(-1).sort(-1, descending=True).values
                gap = min(gap, (ranked[:, k - 1] - ranked[:, k]).min().item())
    return gap
