"""The peers of bench/step_bench.cpp: whole training steps of transformers or mambapy.

`peer_step.py MODEL fp32|bf16 eager|compiled|checkpointed|mambapy ROWS LENGTH THREADS cpu|cuda` obeys
the lines that it reads as step_bench does. Weights are in the precision that is asked for: bf16 has no
fp32 masters here, which is faster than what weft does (mambapy: fp32 under autocast). AdamW is
torch's fused one.
"""

import json
import sys
import time
from collections.abc import Callable

import torch

SHARED = {"attn_implementation": "sdpa", "use_cache": False}
SIZES = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8,
         "num_attention_heads": 8, "num_key_value_heads": 8, "tie_word_embeddings": True,
         "max_position_embeddings": 65536}
MODELS = {  # of transformers, which Mamba's peer does without
    "llama": lambda transformers: transformers.LlamaConfig(vocab_size=8192, **SIZES, **SHARED),
    "long": lambda transformers: transformers.LlamaConfig(vocab_size=128256, **SIZES, **SHARED),
    "gpt2": lambda transformers: transformers.GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                                            **SHARED),
    "jamba": lambda transformers: transformers.JambaConfig(vocab_size=8192, num_experts=8, num_experts_per_tok=2,
                                              use_mamba_kernels=False, output_router_logits=True,
                                              **SIZES, **SHARED),
}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def transformers_loss(name: str, variant: str, dtype: torch.dtype,
                      device: str) -> tuple[torch.nn.Module, int, Callable]:
    """Model, vocabulary, and ids -> loss."""
    import transformers

    transformers.logging.set_verbosity_error()
    config = MODELS[name](transformers)
    model = transformers.AutoModelForCausalLM.from_config(config).to(device, dtype).train()
    if variant == "checkpointed":
        model.gradient_checkpointing_enable()
    forward = torch.compile(model) if variant == "compiled" else model
    return model, config.vocab_size, lambda ids: forward(input_ids=ids, labels=ids).loss


def mambapy_loss(dtype: torch.dtype, device: str) -> tuple[torch.nn.Module, int, Callable]:
    # Its own language model (mambapy.lm) cannot be imported without a GPU's packages.
    from mambapy.mamba import Mamba, MambaConfig, RMSNorm

    vocabulary, width = 8192, 512
    embedding = torch.nn.Embedding(vocabulary, width)
    torch.nn.init.normal_(embedding.weight, std=0.02)
    model = torch.nn.Sequential(embedding, Mamba(MambaConfig(d_model=width, n_layers=8)),
                                RMSNorm(width), torch.nn.Linear(width, vocabulary, bias=False))
    model = model.to(device).train()

    def loss(ids: torch.Tensor) -> torch.Tensor:
        # Its mixers need fp32 weights: A and D are fp32 in any case.
        with torch.autocast(device, dtype=dtype, enabled=dtype == torch.bfloat16):
            logits = model(ids)[:, :-1].reshape(-1, vocabulary)
        return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:].reshape(-1))

    return model, vocabulary, loss


def main() -> int:
    name, precision, variant, rows, length, threads, device = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    dtype = TYPES[precision]
    model, vocabulary, loss_of = (mambapy_loss(dtype, device) if variant == "mambapy"
                                  else transformers_loss(name, variant, dtype, device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=True)
    ids = torch.randint(vocabulary, (int(rows), int(length)), device=device)

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def step() -> dict:
        wait()
        start = time.perf_counter()
        loss = loss_of(ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        wait()
        return {"ms": 1e3 * (time.perf_counter() - start), "loss": loss.item()}

    def peak_mib() -> float:
        if device == "cuda":
            return torch.cuda.max_memory_allocated() / (1 << 20)
        with open("/proc/self/status") as status:  # not getrusage: it knows of the time before exec
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024

    def info() -> dict:
        return {"parameters": sum(p.numel() for p in model.parameters()), "peak_mib": peak_mib()}

    commands = {"step": step, "info": info}
    for line in sys.stdin:
        print(json.dumps(commands[line.strip()]()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
