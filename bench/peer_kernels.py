"""The peers of bench/kernel_bench.cpp: the attention of the installed torch, and selective scans.

`peer_kernels.py cpu|cuda THREADS torch|mamba-ssm|mambapy` obeys the lines that it reads as kernel_bench does.
The scan of mamba-ssm is its fused one, for GPUs; that of mambapy its parallel one, with the pointwise
functions around it as its layers have them. A package that isn't there is a failure that names it.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention, silu, softplus

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def leaf(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> torch.Tensor:
    return torch.randn(shape, device=device).to(dtype).requires_grad_()


def attention(rows: int, length: int, heads: int, width: int, dtype: torch.dtype,
              device: str) -> tuple[list[torch.Tensor], Callable[[], torch.Tensor]]:
    q, k, v = (leaf((rows, length, heads, width), dtype, device) for _ in range(3))

    def forward() -> torch.Tensor:
        return scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                                            is_causal=True).transpose(1, 2)

    return [q, k, v], forward


def scan(peer: str, rows: int, length: int, channels: int, states: int, dtype: torch.dtype,
         device: str) -> tuple[list[torch.Tensor], Callable[[], torch.Tensor]]:
    x, dt, z = (leaf((rows, length, channels), dtype, device) for _ in range(3))
    b, c = (leaf((rows, length, states), dtype, device) for _ in range(2))
    a_log = torch.rand(channels, states, device=device, requires_grad=True)
    d = leaf((channels,), torch.float32, device)
    dt_bias = (torch.randn(channels, device=device) - 4).requires_grad_()
    if peer == "mamba-ssm":
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        def forward() -> torch.Tensor:  # its tensors have the length last
            return selective_scan_fn(*(t.transpose(1, 2) for t in (x, dt)), -torch.exp(a_log),
                                     *(t.transpose(1, 2) for t in (b, c)), D=d,
                                     z=z.transpose(1, 2), delta_bias=dt_bias,
                                     delta_softplus=True).transpose(1, 2)
    else:
        from mambapy.pscan import pscan

        def forward() -> torch.Tensor:
            delta = softplus(dt + dt_bias).unsqueeze(-1)
            h = pscan(torch.exp(delta * -torch.exp(a_log)), delta * b.unsqueeze(2) * x.unsqueeze(-1))
            y = (h @ c.to(h.dtype).unsqueeze(-1)).squeeze(3) + d * x
            return (y * silu(z)).to(dtype)

    return [x, dt, z, b, c, a_log, d, dt_bias], forward


def main() -> int:
    device, threads, peer = sys.argv[1:]
    torch.set_num_threads(int(threads))

    def measure(leaves: list[torch.Tensor], forward: Callable[[], torch.Tensor]) -> float:
        """As kernel_bench measures."""
        with torch.no_grad():
            dy = torch.randn_like(forward())

        def milliseconds(count: int) -> float:
            if device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(count):
                forward().backward(dy)
                for each in leaves:
                    each.grad = None
            if device == "cuda":
                torch.cuda.synchronize()
            return 1e3 * (time.perf_counter() - start) / count

        milliseconds(1)
        count = max(1, min(1000, int(50 / milliseconds(1))))
        return statistics.median(milliseconds(count) for _ in range(3))

    for line in sys.stdin:
        kernel, precision, *sizes = line.split()
        sizes = [int(size) for size in sizes]
        dtype = TYPES[precision]
        work = (attention(*sizes, dtype, device) if kernel == "attention"
                else scan(peer, *sizes, dtype, device))
        print(json.dumps({"ms": measure(*work)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
