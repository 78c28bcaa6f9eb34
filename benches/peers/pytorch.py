"""The peer: tokens per second of a training step of nanoGPT's shapes in PyTorch, eager float32.

    python benches/peers/pytorch.py [--threads 2] [--seconds 10] [--rounds 5] [--shapes small medium] [--fused]
                                    [--device cuda] [--tf32] [--compile] [--parts]

A step is what nanoGPT does: forward, backward, clipping by the global norm, AdamW; random tokens of the shape's
vocabulary. Prints one JSON object a line on stdout: the median and the best of the rounds, the device's GEMM rate
measured in between, and the share of that rate which the step's products reach. `--fused` uses torch's fused AdamW,
which nanoGPT chooses on a GPU and not on a processor. On a GPU nothing is read back within a round. `--tf32` lets
products round their factors to 10 bits, `--compile` compiles the model. `--parts` times products and attention alone.
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

SHAPES = {
    "small": {"layers": 4, "heads": 4, "width": 128, "context": 64, "batch": 12, "vocabulary": 65},
    "medium": {"layers": 6, "heads": 6, "width": 384, "context": 256, "batch": 8, "vocabulary": 65},
    "gpt2": {"layers": 12, "heads": 12, "width": 768, "context": 1024, "batch": 8, "vocabulary": 50257},
}


def settle(device: str) -> None:
    """Waits for a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def flops_per_token(shape: dict) -> float:
    """Products only, forward and backward: 6 per weight of a product, and attention over half the context."""
    width, layers = shape["width"], shape["layers"]
    weights = layers * 12 * width * width + shape["vocabulary"] * width
    return 6.0 * weights + 6.0 * layers * shape["context"] * width


def best_seconds(device: str, call, times: int = 8) -> float:
    """Seconds of a call, the best of several; on a GPU many calls stand in a row each time."""
    copies = 20 if device == "cuda" else 1
    best = float("inf")
    for _ in range(times):
        settle(device)
        start = time.perf_counter()
        for _ in range(copies):
            call()
        settle(device)
        best = min(best, (time.perf_counter() - start) / copies)
    return best


def gemm_rate(device: str, size: int | None = None) -> float:
    """Best GFLOP/s of a square product."""
    size = size or (4096 if device == "cuda" else 1024)
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    return 2 * size**3 / best_seconds(device, lambda: torch.mm(a, b.T)) / 1e9


def parts(arguments: argparse.Namespace) -> None:
    """Products and attention alone, as `benches/step.rs` times them."""
    device = arguments.device
    for size in (1024, 2048, 4096):
        print(json.dumps({"part": f"product {size}", "gflops": round(gemm_rate(device, size))}), flush=True)
    for name in arguments.shapes:
        shape = SHAPES[name]
        heads, width, context = shape["heads"], shape["width"], shape["context"]
        size = (shape["batch"], heads, context, width // heads)
        q, k, v, dy = (torch.randn(size, device=device, requires_grad=True) for _ in range(4))

        def forward() -> torch.Tensor:
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

        def both() -> None:
            torch.autograd.grad(forward(), (q, k, v), dy)

        once, twice = best_seconds(device, forward), best_seconds(device, both)
        # The causal half of two products forward, of five backward.
        flops = 2.0 * shape["batch"] * context * context / 2 * width
        line = {"part": f"attention {name}"}
        for pass_, seconds, products in (("forward", once, 2), ("backward", twice - once, 5)):
            line[f"{pass_}_us"] = round(seconds * 1e6, 1)
            line[f"{pass_}_gflops"] = round(products * flops / seconds / 1e9)
        print(json.dumps(line), flush=True)


def bench(name: str, arguments: argparse.Namespace) -> dict:
    """Rounds of one shape."""
    shape = SHAPES[name]
    torch.manual_seed(1)
    device, vocabulary = arguments.device, shape["vocabulary"]
    model = Model(vocabulary, shape["layers"], shape["heads"], shape["width"], shape["context"]).to(device)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=arguments.fused or None)
    rows = torch.randint(vocabulary, (shape["batch"], shape["context"] + 1), device=device)
    forward = torch.compile(model) if arguments.compile else model

    def step() -> None:
        loss = forward(rows[:, :-1], rows[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    start = time.perf_counter()
    step()
    settle(device)
    first = time.perf_counter() - start
    step()
    step()
    settle(device)
    rates, gemm = [], 0.0
    for _ in range(arguments.rounds):
        gemm = max(gemm, gemm_rate(device))
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < arguments.seconds / arguments.rounds or steps == 0:
            step()
            steps += 1
            # A GPU is let run ahead, but not out of the round.
            if steps % 8 == 0:
                settle(device)
        settle(device)
        rates.append(steps * shape["batch"] * shape["context"] / (time.perf_counter() - start))
    best = max(rates)
    words = ["compiled" if arguments.compile else "eager", "tf32" if arguments.tf32 else "float32"]
    words += ["fused AdamW"] if arguments.fused else []
    return {
        "peer": f"pytorch {torch.__version__.split('+')[0]} {' '.join(words)}",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
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
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES), default=["small", "medium"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    for flag in ("--fused", "--tf32", "--compile", "--parts"):
        parser.add_argument(flag, action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    torch.backends.cudnn.allow_tf32 = arguments.tf32
    if arguments.parts:
        return parts(arguments)
    for name in arguments.shapes:
        print(json.dumps(bench(name, arguments)), flush=True)


if __name__ == "__main__":
    main()
