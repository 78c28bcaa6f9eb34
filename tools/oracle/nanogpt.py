"""The yardstick of learning: a GPT trained in PyTorch on tinyshakespeare by nanoGPT's recipe for a processor.

    python nanogpt.py TEXT OUT.json [--seeds 1 2 3] [--threads 1] [--steps 2000]

TEXT is the plain text (1,115,394 characters). The first 90 % are trained on; the loss is taken on the whole of the last
10 %, in windows of 64 predictions that overlap by the one token that feeds the next, so that every character but the
first is predicted exactly once. The recipe: 4 layers, 4 heads, 128 wide, context 64, batches of 12 at random offsets,
2000 steps, AdamW (0.9, 0.99), eps 1e-8, decay 0.1 on matrices, clipping at 1, warm-up over 100 steps to 1e-3, cosine to
1e-4, no dropout, no biases anywhere, exact GELU, learned positions, head tied to the embedding, N(0, 0.02) everywhere
and N(0, 0.02 / sqrt(2 layers)) for the two products that write to the residual stream.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
WARMUP, RATE_MAX, RATE_MIN = 100, 1e-3, 1e-4


class Layer(nn.Module):
    """Attention and feed-forward, each behind a norm and added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_forward = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, time_, width = x.shape
        split = self.qkv(self.norm_attention(x)).view(rows, time_, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(rows, time_, width))
        return x + self.down(F.gelu(self.up(self.norm_forward(x))))


class Model(nn.Module):
    """The decoder; `forward` gives the mean loss in nats over all predicted tokens."""

    def __init__(self, vocabulary: int, layers=LAYERS, heads=HEADS, width=WIDTH, context=CONTEXT) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for layer in self.layers:
            x = layer(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def optimizer_of(model: nn.Module) -> torch.optim.AdamW:
    """AdamW with decay on matrices only."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATE_MAX, betas=(0.9, 0.99), eps=1e-8)


def rate(step: int, steps: int) -> float:
    """Learning rate of a step (from 0): linear warm-up, then cosine."""
    if step < WARMUP:
        return RATE_MAX * (step + 1) / (WARMUP + 1)
    share = (step - WARMUP) / (steps - WARMUP)
    return RATE_MIN + 0.5 * (1 + math.cos(math.pi * share)) * (RATE_MAX - RATE_MIN)


@torch.no_grad()
def whole_loss(model: Model, data: torch.Tensor) -> tuple[float, int]:
    """Mean loss over every token of `data` but the first, and how many those are."""
    model.eval()
    total, count = 0.0, 0
    full = (len(data) - 1) // CONTEXT
    ids = data[: full * CONTEXT].view(full, CONTEXT)
    targets = data[1 : full * CONTEXT + 1].view(full, CONTEXT)
    pieces = list(zip(ids.split(128), targets.split(128)))
    if full * CONTEXT + 1 < len(data):
        pieces.append((data[full * CONTEXT : -1][None], data[full * CONTEXT + 1 :][None]))
    for some_ids, some_targets in pieces:
        total += model(some_ids, some_targets, reduction="sum").item()
        count += some_targets.numel()
    return total / count, count


def train(data: torch.Tensor, validation: torch.Tensor, vocabulary: int, seed: int, steps: int) -> dict:
    """One run from random weights."""
    torch.manual_seed(seed)
    model = Model(vocabulary)
    optimizer = optimizer_of(model)
    start = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        offsets = torch.randint(len(data) - CONTEXT, (BATCH,))
        rows = torch.stack([data[o : o + CONTEXT + 1] for o in offsets.tolist()])
        loss = model(rows[:, :-1], rows[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 0:
            print(f"seed {seed} step {step} loss {loss.item():.4f}", flush=True)
    seconds = time.monotonic() - start
    value, tokens = whole_loss(model, validation)
    print(f"seed {seed}: validation loss {value:.4f} over {tokens} tokens, {seconds:.0f} s", flush=True)
    return {"seed": seed, "loss": round(value, 6), "tokens": tokens}


def main() -> None:
    """Reads the text, trains once per seed, writes the losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    text = arguments.text.read_text(encoding="utf-8")
    symbols = sorted(set(text))
    index = {symbol: i for i, symbol in enumerate(symbols)}
    ids = torch.tensor([index[symbol] for symbol in text])
    cut = int(len(ids) * 0.9)
    runs = [train(ids[:cut], ids[cut:], len(symbols), seed, arguments.steps) for seed in arguments.seeds]
    losses = [run["loss"] for run in runs]
    document = {
        "what": "tinyshakespeare by characters, nanoGPT's processor recipe: mean nats over the whole validation split",
        "made_by": f"tools/oracle/nanogpt.py, torch {torch.__version__.split('+')[0]}, float32",
        "steps": arguments.steps,
        "train_tokens": cut,
        "validation_tokens": len(ids) - cut,
        "vocabulary": len(symbols),
        "runs": runs,
        "mean": round(sum(losses) / len(losses), 6),
    }
    arguments.out.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
