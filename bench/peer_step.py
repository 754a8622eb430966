"""The peer of bench/step_bench.cpp: whole training steps of transformers.

`peer_step.py MODEL fp32|bf16 eager|compiled ROWS LENGTH THREADS` obeys the lines that it reads as
step_bench does. Weights are in the precision that is asked for: bf16 has no fp32 masters here, which
is faster than what weft does. AdamW is torch's fused one.
"""

import json
import resource
import sys
import time

import torch
import transformers

SHARED = {"attn_implementation": "sdpa", "use_cache": False}
MODELS = {
    "llama": lambda: transformers.LlamaConfig(
        vocab_size=8192, hidden_size=512, intermediate_size=1536, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=8, tie_word_embeddings=True,
        max_position_embeddings=65536, **SHARED),
    "gpt2": lambda: transformers.GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                                            **SHARED),
}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> int:
    name, precision, variant, rows, length, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    transformers.logging.set_verbosity_error()
    config = MODELS[name]()
    model = transformers.AutoModelForCausalLM.from_config(config).to(TYPES[precision]).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=True)
    ids = torch.randint(config.vocab_size, (int(rows), int(length)))
    forward = torch.compile(model) if variant == "compiled" else model

    def step() -> dict:
        start = time.perf_counter()
        loss = forward(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return {"ms": 1e3 * (time.perf_counter() - start), "loss": loss.item()}

    def info() -> dict:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"parameters": sum(p.numel() for p in model.parameters()), "peak_mib": peak}

    commands = {"step": step, "info": info}
    for line in sys.stdin:
        print(json.dumps(commands[line.strip()]()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
