"""Decoding one sequence: weft beside transformers' own generate, in one run and the same precision.

Run by scripts/bench_decode. Makes random models of each family, times both alternately, and prints a
Markdown table: tokens a second of both, their ratio, and weft's share of the memory bound.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import transformers

from workers import machine

PROMPT = [[1 + 7 * i % 1000 for i in range(16)]]
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def llama(hidden: int, layers: int, width: int, vocab: int) -> transformers.PretrainedConfig:
    return transformers.LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=width, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 64, tie_word_embeddings=True,
        max_position_embeddings=4096)


def mamba(hidden: int, layers: int, vocab: int) -> transformers.PretrainedConfig:
    return transformers.MambaConfig(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers)


def jamba(hidden: int, layers: int, width: int, vocab: int) -> transformers.PretrainedConfig:
    return transformers.JambaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=width, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, num_key_value_heads=2, num_experts=4,
        attn_layer_period=6, attn_layer_offset=3)


MODELS = {
    "Llama": llama(768, 12, 2048, 32000),
    "Mamba": mamba(768, 24, 32000),
    "Jamba": jamba(512, 12, 1408, 32000),
    "Llama, small": llama(256, 6, 688, 8192),
    "Mamba, small": mamba(256, 8, 8192),
    "Jamba, small": jamba(256, 6, 384, 4096),
}


def peer_rate(model: transformers.PreTrainedModel, tokens: int) -> float:
    """Tokens a second of transformers' greedy generate."""
    ids = torch.tensor(PROMPT)
    start = time.perf_counter()
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False,
                             max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0)
    seconds = time.perf_counter() - start
    assert out.shape[1] == len(PROMPT[0]) + tokens, out.shape
    return tokens / seconds


def our_rate(program: str, folder: str, precision: str, tokens: int) -> dict:
    out = subprocess.run([program, folder, precision, str(tokens)], check=True, text=True,
                         stdout=subprocess.PIPE)
    return json.loads(out.stdout)


def compare(name: str, precision: str, program: str, tokens: int, rounds: int) -> str:
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(MODELS[name]).to(TYPES[precision]).eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        peer_rate(model, 8)
        ours, peers = [], []
        for _ in range(rounds):
            ours.append(our_rate(program, folder, precision, tokens))
            peers.append(peer_rate(model, tokens))
    rate = statistics.median(one["tokens_per_s"] for one in ours)
    share = statistics.median(one["share"] for one in ours)
    reading = statistics.median(one["reading_share"] for one in ours)
    copy = statistics.median(one["copy_gb_per_s"] for one in ours)
    peer = statistics.median(peers)
    millions = ours[0]["parameters"] / 1e6
    return (f"| {name} | {millions:.1f} M | {precision} | {rate:.1f} | {peer:.1f} | "
            f"{rate / peer:.2f} | {100 * share:.0f} % | {copy:.1f} | {100 * reading:.0f} % |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the built decode_bench")
    parser.add_argument("--only", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--precision", nargs="*", choices=list(TYPES), default=list(TYPES))
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    print(f"{machine()}; {torch.get_num_threads()} threads; torch {torch.__version__}, "
          f"transformers {transformers.__version__}, {arguments.tokens} tokens after "
          f"{len(PROMPT[0])}, medians of {arguments.rounds} alternating runs\n")
    print("| model | parameters | precision | weft, tokens/s | transformers, tokens/s | ratio | "
          "share of memory bound | copy, GB/s | share of mere reading |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.only:
        for precision in arguments.precision:
            print(compare(name, precision, arguments.program, arguments.tokens, arguments.rounds),
                  flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
