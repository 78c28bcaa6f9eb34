"""The peer on a processor: tokens per second of a training step of nanoGPT's two shapes in PyTorch, eager float32.

    python benches/peers/pytorch.py [--threads 2] [--seconds 10] [--rounds 5] [--shapes small medium] [--fused]

A step is what nanoGPT does: forward, backward, clipping by the global norm, AdamW; random tokens of a vocabulary of 65.
Prints one JSON object a line on stdout: the median and the best of the rounds, the processor's GEMM rate measured in
between, and the share of that rate which the step's products reach. `--fused` uses torch's fused AdamW, which nanoGPT
does not choose on a processor.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "oracle"))
from nanogpt import Model  # noqa: E402

VOCABULARY = 65
SHAPES = {
    "small": {"layers": 4, "heads": 4, "width": 128, "context": 64, "batch": 12},
    "medium": {"layers": 6, "heads": 6, "width": 384, "context": 256, "batch": 8},
}


def flops_per_token(shape: dict) -> float:
    """Products only, forward and backward: 6 per weight of a product, and attention over half the context."""
    width, layers = shape["width"], shape["layers"]
    weights = layers * 12 * width * width + VOCABULARY * width
    return 6.0 * weights + 6.0 * layers * shape["context"] * width


def gemm_rate(size: int = 1024, times: int = 8) -> float:
    """Best GFLOP/s of a square product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = 0.0
    for _ in range(times):
        start = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def bench(name: str, arguments: argparse.Namespace) -> dict:
    """Rounds of one shape."""
    shape = SHAPES[name]
    torch.manual_seed(1)
    model = Model(VOCABULARY, shape["layers"], shape["heads"], shape["width"], shape["context"])
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=arguments.fused or None)
    rows = torch.randint(VOCABULARY, (shape["batch"], shape["context"] + 1))

    def step() -> None:
        loss = model(rows[:, :-1], rows[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    step()
    step()
    rates, gemm = [], 0.0
    for _ in range(arguments.rounds):
        gemm = max(gemm, gemm_rate())
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < arguments.seconds / arguments.rounds or steps == 0:
            step()
            steps += 1
        rates.append(steps * shape["batch"] * shape["context"] / (time.perf_counter() - start))
    best = max(rates)
    return {
        "peer": f"pytorch {torch.__version__.split('+')[0]} eager float32{' fused AdamW' if arguments.fused else ''}",
        "shape": name,
        "threads": arguments.threads,
        "tokens_per_second_median": round(statistics.median(rates), 1),
        "tokens_per_second_best": round(best, 1),
        "first_step_ms": round(first * 1000, 1),
        "gemm_gflops_best": round(gemm, 1),
        "share_of_gemm": round(best * flops_per_token(shape) / 1e9 / gemm, 3),
        "parameters": sum(p.numel() for p in model.parameters()),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    """Benchmarks the shapes one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES), default=list(SHAPES))
    parser.add_argument("--fused", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.shapes:
        print(json.dumps(bench(name, arguments)), flush=True)


if __name__ == "__main__":
    main()
