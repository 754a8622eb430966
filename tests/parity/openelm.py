"""OpenELM in plain PyTorch, the reference of the parity tests: transformers has no class for it.

Modules carry the names of the tensors on disk, so `state_dict()` is the file. Written from
arXiv:2404.14619 and the rounding rules of its published checkpoints; nothing of weft is used.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

NORM_EPS = 1e-6  # the published code's; config.json does not hold it


def make_divisible(value: float, divisor: int) -> int:
    """The nearest multiple of divisor, but not more than a tenth below value."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def spread(multipliers: list[float] | float, layers: int) -> list[float]:
    """One multiplier a layer: from a pair (first, last) or one for all; a list is taken as it is."""
    if not isinstance(multipliers, list):
        return [multipliers] * layers
    if len(multipliers) != 2 or layers == 2:
        return multipliers
    first, last = multipliers
    # Ties go to even, as in the published code.
    return [round((first + (last - first) * i / (layers - 1)) * 100) / 100 for i in range(layers)]


def layer_widths(config: dict[str, Any]) -> list[tuple[int, int, int]]:
    """(query heads, key heads, feed-forward width) of each layer."""
    layers, width, head = (config[k] for k in ("num_transformer_layers", "model_dim", "head_dim"))
    group = config["num_gqa_groups"]  # query heads for each key head
    queries = [make_divisible(m * width, head * group) // head
               for m in spread(config["qkv_multipliers"], layers)]
    inner = [int(make_divisible(m * width, config["ffn_dim_divisor"]))
             for m in spread(config["ffn_multipliers"], layers)]
    queries = config.get("num_query_heads", queries)
    keys = config.get("num_kv_heads", [q // group for q in queries])
    return list(zip(queries, keys, inner, strict=True))


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + NORM_EPS))


def rotate(x: Tensor, base: float) -> Tensor:
    """x [heads, T, e]: rotates channels j and j + e/2 by the angle of the position."""
    length, head = x.shape[-2:]
    # The angles in fp32, in this order of operations, as in the published code.
    frequency = 1.0 / base ** (torch.arange(0, head, 2).float() / head)
    angle = torch.outer(torch.arange(length).float(), frequency).to(x.dtype)
    low, high = x.chunk(2, dim=-1)
    return torch.cat([low * angle.cos() - high * angle.sin(),
                      high * angle.cos() + low * angle.sin()], dim=-1)


class Attention(nn.Module):
    def __init__(self, config: dict[str, Any], queries: int, keys: int) -> None:
        super().__init__()
        width, self.head = config["model_dim"], config["head_dim"]
        self.queries, self.keys, self.base = queries, keys, config["rope_freq_constant"]
        self.qkv_proj = nn.Linear(width, (queries + 2 * keys) * self.head, bias=False)
        self.q_norm = RmsNorm(self.head)
        self.k_norm = RmsNorm(self.head)
        self.out_proj = nn.Linear(queries * self.head, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[0]
        heads = self.qkv_proj(x).view(length, -1, self.head).transpose(0, 1)
        q, k, v = heads.split([self.queries, self.keys, self.keys])
        group = self.queries // self.keys
        q = rotate(self.q_norm(q), self.base)
        k = rotate(self.k_norm(k), self.base).repeat_interleave(group, dim=0)
        v = v.repeat_interleave(group, dim=0)
        scores = q @ k.transpose(1, 2) / math.sqrt(self.head)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(dim=-1)
        return self.out_proj((weights @ v).transpose(0, 1).reshape(length, -1))


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj_1 = nn.Linear(width, 2 * inner, bias=False)  # the gate's rows first
        self.proj_2 = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.proj_1(x).chunk(2, dim=-1)
        return self.proj_2(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, config: dict[str, Any], queries: int, keys: int, inner: int) -> None:
        super().__init__()
        self.attn = Attention(config, queries, keys)
        self.ffn = FeedForward(config["model_dim"], inner)
        self.attn_norm = RmsNorm(config["model_dim"])
        self.ffn_norm = RmsNorm(config["model_dim"])

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.attn_norm(x))
        return x + self.ffn(self.ffn_norm(x))


class OpenElm(nn.Module):
    """ids [T] -> logits [T, V]."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        layers = [Layer(config, *widths) for widths in layer_widths(config)]
        self.transformer = nn.ModuleDict({
            "token_embeddings": nn.Embedding(config["vocab_size"], config["model_dim"]),
            "layers": nn.ModuleList(layers),
            "norm": RmsNorm(config["model_dim"]),
        })
        if not config["share_input_output_layers"]:
            self.lm_head = nn.Linear(config["model_dim"], config["vocab_size"], bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.transformer["token_embeddings"](ids)
        for layer in self.transformer["layers"]:
            x = layer(x)
        x = self.transformer["norm"](x)
        tied = self.config["share_input_output_layers"]
        return x @ (self.transformer["token_embeddings"] if tied else self.lm_head).weight.T


def save(model: OpenElm, folder: Path, dtype: torch.dtype) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = {"architectures": ["OpenELMForCausalLM"], "model_type": "openelm",
             "torch_dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(names | model.config, indent=2) + "\n")
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def load(folder: Path, dtype: torch.dtype) -> OpenElm:
    """Fails where a tensor is missing, unknown or of another shape."""
    model = OpenElm(json.loads((folder / "config.json").read_text()))
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        if file.name != "reference.safetensors":
            tensors |= load_file(file)
    model.load_state_dict(tensors, strict=True)
    return model.to(dtype)
