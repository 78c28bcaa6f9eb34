"""Reference numbers of adapters from PEFT: LoRA, rsLoRA and DoRA beside tiny Qwen3 and GPT-2 models.

    python adapters.py tests/golden

Version: peft 0.21.2 (and requirements.txt). Writes a folder per model, with the frozen model as transformers saves it
(`model.safetensors`, `config.json`), and in it a folder per adapter: `adapter_config.json` and
`adapter_model.safetensors` as PEFT saves them, and `expected.safetensors`:
  tokens       (3, 17) i32   a batch: ids = tokens[:, :16], and what they predict is tokens[:, 1:]
  targets      (3, 16) i32   the same, with -100 where a target is ignored
  logits       (3, 16, v)    under the adapter
  loss         (1)           - sum of log-probabilities / count of targets that are not ignored
  grad.NAME    gradient of that loss, by the names of adapter_model.safetensors
  merged.NAME  the weights that merge_and_unload changed, by the names of model.safetensors

No A, B or magnitude is where it begins. Checked here: the saved folders load again as the same model, the merged model
gives the same logits, and float64 is not farther away than a tenth of the tests' tolerance.
"""

import argparse
import copy
import json
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from model import batch, loss_of, numbers, randomize, split

PINNED = "0.21.2"


def gpt2() -> PreTrainedModel:
    """Fused c_attn, matrices stored (in, out), biases."""
    config = GPT2Config(
        vocab_size=31, n_positions=20, n_embd=16, n_layer=2, n_head=2, activation_function="gelu_new",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, attn_implementation="eager",
    )
    return GPT2LMHeadModel(config)


def qwen3() -> PreTrainedModel:
    """Separate q, k, v and gate, up."""
    config = Qwen3Config(
        vocab_size=29, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=20, rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, attention_bias=False, attention_dropout=0.0,
        tie_word_embeddings=True, use_sliding_window=False, bos_token_id=0, eos_token_id=0, pad_token_id=None,
        attn_implementation="eager",
    )
    return Qwen3ForCausalLM(config)


QWEN3 = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
GPT2 = ["c_attn", "c_proj", "c_fc"]
MODELS = {
    "qwen3-adapted-tiny": (31, qwen3, {
        "lora": {"r": 4, "lora_alpha": 8, "target_modules": QWEN3},
        "rslora": {"r": 3, "lora_alpha": 2, "target_modules": ["q_proj", "v_proj", "up_proj"], "use_rslora": True},
        "dora": {"r": 4, "lora_alpha": 6, "target_modules": QWEN3, "use_dora": True},
    }),
    "gpt2-adapted-tiny": (32, gpt2, {
        "lora": {"r": 4, "lora_alpha": 8, "target_modules": GPT2, "fan_in_fan_out": True},
        "rslora": {"r": 3, "lora_alpha": 2, "target_modules": ["c_attn"], "use_rslora": True, "fan_in_fan_out": True},
        "dora": {"r": 2, "lora_alpha": 3, "target_modules": GPT2, "use_dora": True, "fan_in_fan_out": True},
    }),
}


def saved_name(name: str) -> str:
    """A parameter's name as PEFT saves it."""
    return name.replace(".lora_magnitude_vector.default.weight", ".lora_magnitude_vector").replace(".default.", ".")


def trained(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """The adapter's parameters by their saved names."""
    return {saved_name(name): p for name, p in model.named_parameters() if p.requires_grad}


def move(model: PeftModel, seed: int) -> None:
    """Takes A, B and magnitudes away from where they begin."""
    generator = torch.Generator().manual_seed(seed + 4000)
    for name, parameter in trained(model).items():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("lora_magnitude_vector"):
            parameter.data.mul_(1 + 0.2 * noise)
        else:
            parameter.data.copy_(0.25 * noise)


def one_batch(model: PeftModel, ids: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Forward and backward of the batch."""
    model.zero_grad()
    logits = model(input_ids=ids, use_cache=False).logits
    loss = loss_of(numbers(logits, targets)["log_prob"], targets)
    loss.backward()
    missing = [name for name, p in trained(model).items() if p.grad is None or not p.grad.any()]
    assert not missing, f"no gradient reached {missing}"
    found = {f"grad.{name}": p.grad.detach().clone() for name, p in trained(model).items()}
    return {"logits": logits.detach(), "loss": loss.detach()[None]} | found


def write(folder: Path, seed: int, base: PreTrainedModel, options: dict) -> None:
    """One adapter beside a saved model."""
    frozen = {name: value.clone() for name, value in base.state_dict().items()}
    model = get_peft_model(copy.deepcopy(base), LoraConfig(task_type="CAUSAL_LM", **options)).eval()
    move(model, seed)
    tokens = batch(base.config.vocab_size, seed)
    ids, targets = split(tokens)
    expected = one_batch(model, ids, targets)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    document = json.loads((folder / "adapter_config.json").read_text())
    document["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(document, indent=2) + "\n")
    reloaded = PeftModel.from_pretrained(copy.deepcopy(base), folder, is_trainable=True).eval()
    again = one_batch(reloaded, ids, targets)
    assert all(torch.equal(expected[name], again[name]) for name in expected), "the saved folder is another adapter"
    exact = one_batch(copy.deepcopy(model).double(), ids, targets)
    floor = 1e-3 * max(value.norm().item() for name, value in exact.items() if name.startswith("grad."))
    for name, value in expected.items():
        assert (exact[name] - value).norm() < 1e-5 * exact[name].norm().clamp(min=floor), name

    merged = copy.deepcopy(model).merge_and_unload().eval()
    with torch.no_grad():
        assert (merged(input_ids=ids, use_cache=False).logits - expected["logits"]).abs().max() < 2e-5
        plain = base(input_ids=ids, use_cache=False).logits
        assert (plain - expected["logits"]).abs().max() > 0.1, "the adapter changes nothing"
    changed = {f"merged.{n}": v for n, v in merged.state_dict().items() if not torch.equal(v, frozen[n])}
    tensors = {"tokens": tokens.int(), "targets": targets.int()} | expected | changed
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "expected.safetensors")
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)
        assert path.stat().st_size < 60_000, f"{path} is too large to commit"
    print(folder.parent.name, folder.name, "loss", expected["loss"].item(), len(changed), "merged weights")


def main() -> None:
    """Writes every model's folder under the given one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    import peft

    assert peft.__version__ == PINNED, f"peft {peft.__version__}, not {PINNED}"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, (seed, build, adapters) in MODELS.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        base = build().eval()
        randomize(base, seed)
        weights = {k: v.contiguous() for k, v in base.state_dict().items() if k != "lm_head.weight"}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "model.safetensors").chmod(0o644)
        base.config.architectures = [type(base).__name__]
        (folder / "config.json").write_text(base.config.to_json_string())
        for offset, (kind, options) in enumerate(adapters.items()):
            write(folder / kind, seed + 10 * offset, base, options)


if __name__ == "__main__":
    main()
