"""Reference numbers of tiny models with a scalar head, as reward models and critics have: transformers' own classes.

    python scalar.py tests/golden

writes a folder per model: `model.safetensors` and `config.json` as transformers saves a ...ForSequenceClassification of
one label, and `expected.safetensors`:
  tokens     (3, 17) i32   ids = tokens[:, :16]
  weights    (3, 16)       of a linear functional of the values
  values     (3, 16)       the head's value at every position
  grad.NAME  gradient of sum(weights * values), in the shape of the parameter NAME in model.safetensors

Float32, eager attention, one thread. Checked here: the saved folder is the same model, the class's own answer for a row
is the value at its last position, and float64 is not farther away than a tenth of the tests' tolerance.
"""

import argparse
import copy
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForSequenceClassification,
)

from model import CONTEXT, batch, gradients, randomize


def gpt2() -> PreTrainedModel:
    """LayerNorm, learned positions, biases, tanh GELU."""
    config = GPT2Config(
        vocab_size=31, n_positions=20, n_embd=16, n_layer=2, n_head=2, activation_function="gelu_new",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, attn_implementation="eager",
        num_labels=1, problem_type="regression",
    )
    return GPT2ForSequenceClassification(config)


def qwen3() -> PreTrainedModel:
    """RMSNorm, rope, grouped heads of their own width, q/k norm, SwiGLU; said to be tied, which means nothing here."""
    config = Qwen3Config(
        vocab_size=29, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=20, rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, attention_bias=False, attention_dropout=0.0,
        tie_word_embeddings=True, use_sliding_window=False, bos_token_id=0, eos_token_id=0, pad_token_id=None,
        attn_implementation="eager", num_labels=1, problem_type="regression",
    )
    return Qwen3ForSequenceClassification(config)


MODELS = {"gpt2-scalar-tiny": (21, gpt2), "qwen3-scalar-tiny": (22, qwen3)}


def values_of(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """The score of every position."""
    return model.score(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)[..., 0]


def one_batch(model: PreTrainedModel, ids: torch.Tensor, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """Forward and backward of the functional."""
    model.zero_grad()
    values = values_of(model, ids)
    (values * weights.to(values.dtype)).sum().backward()
    return {"values": values.detach()} | {f"grad.{name}": g for name, g in gradients(model).items()}


def check(model: PreTrainedModel, ids: torch.Tensor, weights: torch.Tensor, expected: dict) -> None:
    """The class's own answer, and float64."""
    for row in range(len(ids)):
        own = model(input_ids=ids[row : row + 1], use_cache=False).logits
        assert own.shape == (1, 1) and torch.allclose(own[0, 0], expected["values"][row, -1], atol=1e-6)
    exact = one_batch(copy.deepcopy(model).double(), ids, weights)
    assert (exact["values"] - expected["values"]).abs().max() < 1e-6
    for name, value in expected.items():
        assert (exact[name] - value).norm() < 1e-5 * exact[name].norm(), name


def write(folder: Path, seed: int, model: PreTrainedModel) -> None:
    """One model's folder."""
    model.eval()
    randomize(model, seed)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    assert set(weights) == {name for name, _ in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    (folder / "config.json").write_text(model.config.to_json_string())
    reloaded = type(model).from_pretrained(folder, attn_implementation="eager").eval()

    tokens = batch(model.config.vocab_size, seed)
    ids = tokens[:, :-1].contiguous()
    functional = torch.randn((len(ids), CONTEXT), generator=torch.Generator().manual_seed(seed + 3000))
    expected = one_batch(model, ids, functional)
    again = one_batch(reloaded, ids, functional)
    assert all(torch.equal(expected[name], again[name]) for name in expected), "the saved folder is another model"
    check(model, ids, functional, expected)
    tensors = {"tokens": tokens.int(), "weights": functional} | expected
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "expected.safetensors")
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)
        assert path.stat().st_size < 60_000, f"{path} is too large to commit"
    print(folder.name, "values", expected["values"][:, -1].tolist())


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
