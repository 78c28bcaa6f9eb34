"""Reference numbers of tiny models from PyTorch and transformers: logits, losses, every gradient, ten AdamW steps.

    python model.py tests/golden

writes a folder per model: `model.safetensors` and `config.json` (as transformers saves them: names, and GPT-2's
transposed products), `expected.safetensors` (tensors below) and `steps.json` (ten optimizer steps).

expected.safetensors:
  tokens              (3, 17) i32   a batch: ids = tokens[:, :16], and what they predict is tokens[:, 1:]
  targets             (3, 16) i32   the same, with -100 where a target is ignored
  logits              (3, 16, v)
  log_prob, log_sum_exp, entropy, hit  (3, 16)   of the target; all 0 where ignored
  loss                (1)           - sum of log_prob / count of targets that are not ignored
  grad.NAME           gradient of that loss, in the shape of the parameter NAME in model.safetensors
  packed.ids, packed.targets, packed.positions, packed.segments  (2, 16) i32   rows of several documents: a position
                      counts from the start of its document, a segment is the index in the row where its document
                      starts, a target that belongs to the next document is ignored
  packed.log_prob     (2, 16)       each document run on its own, from position 0
  packed.loss         (1)
  packed.grad_norm    (1)           norm of the gradient of packed.loss over all parameters
  greedy.prompt (5), greedy.tokens (12) i32   the prompt continued by the most likely token each time, without a cache

Everything is float32 with eager attention on one thread; steps.json also says how far a float64 run is away, which
is the error of these numbers themselves.
"""

import argparse
import copy
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

ROWS, CONTEXT, IGNORED = 3, 16, -100
STEPS, RATE, BETAS, EPS, DECAY, CLIP = 10, 1e-3, (0.9, 0.95), 1e-8, 0.1, 1.0
DOCUMENTS = ((7, 9), (1, 10, 5))


def gpt2() -> PreTrainedModel:
    """LayerNorm, learned positions, biases, tanh GELU, head tied to the embedding."""
    config = GPT2Config(
        vocab_size=97, n_positions=32, n_embd=32, n_layer=2, n_head=4, activation_function="gelu_new",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, attn_implementation="eager",
    )
    return GPT2LMHeadModel(config)


def qwen3(tied: bool) -> PreTrainedModel:
    """RMSNorm, rope, grouped heads of their own width, q/k norm, SwiGLU."""
    config = Qwen3Config(
        vocab_size=101, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=32, rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, attention_bias=False, attention_dropout=0.0,
        tie_word_embeddings=tied, use_sliding_window=False, bos_token_id=0, eos_token_id=0, pad_token_id=None,
        attn_implementation="eager",
    )
    return Qwen3ForCausalLM(config)


MODELS = {
    "gpt2-tiny": (11, gpt2),
    "qwen3-tiny": (12, lambda: qwen3(False)),
    "qwen3-tied-tiny": (13, lambda: qwen3(True)),
}


def randomize(model: PreTrainedModel, seed: int) -> None:
    """Parameters that hide nothing: no zero, no symmetry, gains near 1, scores and activations of order 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() >= 2:
            value = noise * (0.5 if "wte" in name or "embed" in name or "head" in name else 0.2)
        elif name.endswith("bias"):
            value = noise * 0.1
        else:
            value = 1 + noise * 0.2
        parameter.data.copy_(torch.where(value == 0, torch.full_like(value, 0.01), value))


def batch(vocabulary: int, seed: int) -> torch.Tensor:
    """Rows with repeated ids."""
    generator = torch.Generator().manual_seed(seed + 1000)
    tokens = torch.randint(vocabulary, (ROWS, CONTEXT + 1), generator=generator)
    tokens[1, 3:9] = tokens[1, 2]
    tokens[2, 5] = tokens[0, 4]
    return tokens


def split(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and their targets, of which some are ignored: a run, a single one, the end of a row."""
    ids, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].clone()
    targets[0, 0:5] = IGNORED
    targets[1, 7] = IGNORED
    targets[2, 14:] = IGNORED
    return ids, targets


def numbers(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the head gives per token; zeros where the target is ignored."""
    keep = targets != IGNORED
    all_log = F.log_softmax(logits, dim=-1)
    chosen = all_log.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    found = {
        "log_prob": chosen,
        "log_sum_exp": logits.logsumexp(-1),
        "entropy": -(all_log.exp() * all_log).sum(-1),
        "hit": (logits.argmax(-1) == targets).to(logits.dtype),
    }
    return {name: torch.where(keep, value, torch.zeros_like(value)) for name, value in found.items()}


def loss_of(log_prob: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum over the unmasked tokens divided by their count."""
    return -log_prob.sum() / (targets != IGNORED).sum()


def gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A copy of every parameter's gradient."""
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not missing, f"no gradient reached {missing}"
    return {name: p.grad.detach().clone() for name, p in model.named_parameters()}


def norm(tensors: dict[str, torch.Tensor]) -> float:
    """Square root of the sum of all squares."""
    return sum(t.double().pow(2).sum().item() for t in tensors.values()) ** 0.5


def one_batch(model: PreTrainedModel, ids: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Forward and backward of the batch."""
    model.zero_grad()
    logits = model(input_ids=ids, use_cache=False).logits
    found = numbers(logits, targets)
    loss = loss_of(found["log_prob"], targets)
    loss.backward()
    out = {"logits": logits, **found, "loss": loss[None]}
    return {k: v.detach() for k, v in out.items()} | {f"grad.{k}": v for k, v in gradients(model).items()}


def packed(model: PreTrainedModel, vocabulary: int, seed: int) -> dict[str, torch.Tensor]:
    """Documents run one by one, laid out as rows; checked against one masked run of the packed rows."""
    generator = torch.Generator().manual_seed(seed + 2000)
    ids = torch.randint(vocabulary, (len(DOCUMENTS), CONTEXT), generator=generator)
    targets = torch.full_like(ids, IGNORED)
    positions, segments = torch.zeros_like(ids), torch.zeros_like(ids)
    model.zero_grad()
    rows, alone = [], []
    for row, lengths in enumerate(DOCUMENTS):
        start, pieces = 0, []
        for length in lengths:
            end = start + length
            targets[row, start : end - 1] = ids[row, start + 1 : end]
            positions[row, start:end] = torch.arange(length)
            segments[row, start:end] = start
            logits = model(input_ids=ids[row : row + 1, start:end], use_cache=False).logits
            pieces.append(numbers(logits, targets[row : row + 1, start:end])["log_prob"])
            alone.append(logits)
            start = end
        rows.append(torch.cat(pieces, dim=1))
    log_prob = torch.cat(rows)
    loss = loss_of(log_prob, targets)
    loss.backward()
    found = {
        "ids": ids.int(), "targets": targets.int(), "positions": positions.int(), "segments": segments.int(),
        "log_prob": log_prob.detach(), "loss": loss.detach()[None],
        "grad_norm": torch.tensor([norm(gradients(model))], dtype=log_prob.dtype),
    }
    together = masked_run(model, ids, targets, positions, segments)
    assert (together - log_prob).abs().max() < 2e-5, "the documents of a row see each other"
    return {f"packed.{name}": value for name, value in found.items()}


@torch.no_grad()
def masked_run(model, ids, targets, positions, segments) -> torch.Tensor:
    """The packed rows in one forward pass under a block-diagonal causal mask."""
    time = torch.arange(CONTEXT)
    seen = (segments[:, :, None] == segments[:, None, :]) & (time[None, :, None] >= time[None, None, :])
    dtype = next(model.parameters()).dtype
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)[:, None]
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return numbers(logits, targets)["log_prob"]


@torch.no_grad()
def greedy(model: PreTrainedModel, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """A greedy continuation in which no choice is close."""
    tokens = ids[:1, :5]
    for _ in range(12):
        top = model(input_ids=tokens, use_cache=False).logits[0, -1].topk(2)
        assert top.values[0] - top.values[1] > 1e-3, "the two best tokens are too close to be a test"
        tokens = torch.cat([tokens, top.indices[:1][None]], dim=1)
    return {"greedy.prompt": tokens[0, :5].int(), "greedy.tokens": tokens[0, 5:].int()}


def ten_steps(model: PreTrainedModel, tokens: torch.Tensor) -> dict:
    """AdamW on a copy; at step s (from 0) the rows of 17 tokens are rolled by s places, the ignored places stay."""
    model = copy.deepcopy(model)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}],
        lr=RATE, betas=BETAS, eps=EPS, foreach=False,
    )
    losses, norms = [], []
    for step in range(STEPS):
        found = one_batch(model, *split(tokens.roll(step, dims=1)))
        losses.append(found["loss"].item())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        optimizer.step()
    after = one_batch(model, *split(tokens))["loss"].item()
    sizes = {name: p.detach().double().norm().item() for name, p in model.named_parameters()}
    return {"losses": losses, "gradient_norms": norms, "loss_after": after, "parameter_norms_after": sizes}


def float64_distance(model: PreTrainedModel, expected: dict, ids, targets) -> dict:
    """How far these float32 numbers are from the same model in float64."""
    exact = one_batch(copy.deepcopy(model).double(), ids, targets)
    names = [name for name in expected if name.startswith("grad.")]
    floor = 1e-3 * norm({name: expected[name] for name in names})
    worst = max(((expected[n] - exact[n]).norm() / exact[n].norm().clamp(min=floor)).item() for n in names)
    return {
        "logits_absolute": (expected["logits"] - exact["logits"]).abs().max().item(),
        "gradients_relative": worst,
        "loss": abs(expected["loss"].item() - exact["loss"].item()),
    }


def write(folder: Path, seed: int, model: PreTrainedModel) -> None:
    """One model's folder."""
    model.eval()
    randomize(model, seed)
    folder.mkdir(parents=True, exist_ok=True)
    tied = bool(model.config.tie_word_embeddings)
    weights = {k: v.contiguous() for k, v in model.state_dict().items() if not (tied and k == "lm_head.weight")}
    assert set(weights) == {name for name, _ in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    (folder / "config.json").write_text(model.config.to_json_string())
    reloaded = type(model).from_pretrained(folder, attn_implementation="eager").eval()

    vocabulary = model.config.vocab_size
    tokens = batch(vocabulary, seed)
    ids, targets = split(tokens)
    expected = one_batch(model, ids, targets)
    again = one_batch(reloaded, ids, targets)
    assert all(torch.equal(expected[name], again[name]) for name in expected), "the saved folder is another model"
    document = {"model": type(model).__name__, "rate": RATE, "betas": BETAS, "eps": EPS, "decay_of_matrices": DECAY}
    document |= {"clip": CLIP, **ten_steps(model, tokens)}
    document["float64_distance"] = float64_distance(model, expected, ids, targets)
    (folder / "steps.json").write_text(json.dumps(document, indent=2) + "\n")
    tensors = {"tokens": tokens.int(), "targets": targets.int()} | expected | packed(model, vocabulary, seed)
    tensors |= greedy(model, ids)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)
    assert all(t.isfinite().all() for t in load_file(folder / "expected.safetensors").values())
    for path in sorted(folder.iterdir()):
        assert path.stat().st_size < 200_000, f"{path} is too large to commit"
    print(folder.name, "loss", expected["loss"].item(), document["float64_distance"])


def main() -> None:
    """Writes every model's folder under the given one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, (seed, build) in MODELS.items():
        write(out / name, seed, build())


if __name__ == "__main__":
    main()
