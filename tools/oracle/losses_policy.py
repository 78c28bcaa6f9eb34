"""The cases of PPO, of its adaptive KL coefficient and of the GRPO family, for `losses.py`."""

import inspect
import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.nn import functional as F
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import nanstd

from trl_calls import Numbers, case, cut, leaf, logged, named, tensor, trainer

# PPO.


def ppo(cases: list, folder: Path) -> None:
    source, space = named(
        folder / "trl/experimental/ppo/ppo_trainer.py", "masked_mean", "masked_var", "masked_whiten"
    )
    space["INVALID_LOGPROB"] = 1.0
    worth = [
        cut(source, "if self.args.missing_eos_penalty is not None:", "-= self.args.missing_eos_penalty"),
        cut(source, "response_idxs = torch.arange(", "advantages = torch.masked_fill(advantages"),
        cut(source, "mean_kl = kl.sum(1).mean()", "rlhf_reward = "),
    ]
    clipped = [
        cut(source, "new_logprobs = torch.masked_fill(", "loss = pg_loss + args.vf_coef * vf_loss"),
        cut(source, "pg_clipfrac = masked_mean(", "                                )"),
        cut(source, "approxkl = 0.5", "approxkl = 0.5"),
    ]
    numbers = Numbers(4)
    defaults = {"kl_coef": 0.05, "kl_estimator": "k1", "missing_eos_penalty": None, "score_clip": None}
    defaults |= {"whiten_rewards": False, "gamma": 1.0, "lam": 0.95}
    defaults |= {"cliprange": 0.2, "cliprange_value": 0.2, "vf_coef": 0.1}
    changes = [
        {},
        {"kl_estimator": "k3"},
        {"missing_eos_penalty": 1.0},
        {"whiten_rewards": True, "gamma": 0.9},
        {"score_clip": 1.0, "missing_eos_penalty": 0.5, "kl_coef": 0.3},
        {"whiten_rewards": True, "kl_estimator": "k3", "lam": 0.5, "missing_eos_penalty": 1.0},
        {"cliprange": 0.1, "cliprange_value": 0.5, "vf_coef": 1.0},
    ]
    for change in changes:
        options = defaults | change
        name = " ".join(f"{key}={value}" for key, value in change.items()) or "defaults"
        ppo_case(cases, name, options, numbers, space, worth, clipped)


def ppo_case(cases, name, options, numbers, space, worth, clipped) -> None:
    lengths, width = [4, 1, 6, 3], 6
    responses = []
    for length in lengths:
        policy = numbers.many(length, -3, -0.1)
        values = numbers.many(min(length + 1, width), -1, 1)
        response = {"policy": policy, "reference": numbers.near(policy, 0.7), "values": values}
        responses.append(response | {"score": numbers.one(-3, 3), "ended": numbers.random.random() < 0.6})

    def padded(key: str, fill: float) -> torch.Tensor:
        return tensor([response[key] + [fill] * (width - len(response[key])) for response in responses])

    args = SimpleNamespace(**options)
    scores = tensor([response["score"] for response in responses])
    if args.score_clip is not None:
        scores = torch.clip(scores, -args.score_clip, args.score_clip)
    here = dict(space) | {
        "self": SimpleNamespace(args=args), "args": args, "scores": scores,
        "responses": torch.zeros(len(lengths), width), "sequence_lengths": torch.tensor(lengths) - 1,
        "logprobs": padded("policy", -7.0), "ref_logprobs": padded("reference", -9.0), "values": padded("values", 3.0),
        "contain_eos_token": torch.tensor([response["ended"] for response in responses]), "empty_cache": lambda: None,
    }  # fmt: skip
    for lines in worth:
        exec(lines, here)
    tokens, places = ~here["padding_mask"], ~here["padding_mask_p1"]
    names = {"kl": "mean_kl", "entropy": "mean_entropy", "non_score_reward": "mean_non_score_reward"}
    metrics = {f"objective/{key}": here[value] for key, value in names.items()}
    metrics |= {"objective/rlhf_reward": here["rlhf_reward"], "objective/scores": here["scores"].mean()}
    out = {"advantages": here["advantages"][tokens], "returns": here["returns"][places]}
    out |= {"rewards": here["rewards"][places], "metrics": metrics}
    cases.append(case("ppo_worth", name, options, {"responses": responses}, out))

    old, old_values = here["logprobs"], here["values"]
    inputs = {
        "old_policy": old[tokens].tolist(),
        "policy": numbers.near(old[tokens].tolist(), 0.5),
        "advantages": numbers.many(int(tokens.sum()), -2, 2),
        "old_values": old_values[places].tolist(),
        "values": numbers.near(old_values[places].tolist(), 0.6),
        "returns": numbers.many(int(places.sum()), -1, 1),
    }

    def scattered(key: str, mask: torch.Tensor) -> torch.Tensor:
        full = torch.zeros(mask.shape, dtype=torch.float64)
        return full.masked_scatter(mask, leaves[key])

    leaves = {key: leaf(value) for key, value in inputs.items()}
    here = dict(space) | {
        "args": args, "micro_batch_inds": slice(None), "padding_mask": ~tokens, "padding_mask_p1": ~places,
        "new_logprobs": scattered("policy", tokens), "mb_logprobs": old,
        "mb_advantage": scattered("advantages", tokens),
        "vpred_temp": F.pad(scattered("values", places), (0, 1)).unsqueeze(-1), "context_length": 1,
        "mb_values": old_values, "mb_return": scattered("returns", places),
    }  # fmt: skip
    for lines in clipped:
        exec(lines, here)
    here["loss"].backward()
    share = tokens.numel() / tokens.sum()
    metrics = {
        "policy/approxkl_avg": here["approxkl"] * share,
        "policy/clipfrac_avg": here["pg_clipfrac"],
        "loss/policy_avg": here["pg_loss"],
        "loss/value_avg": here["vf_loss"],
        "val/clipfrac_avg": here["vf_clipfrac"],
        "val/ratio": here["ratio"].mean() * share - (share - 1),
    }
    out = {"loss": here["loss"], "dpolicy": leaves["policy"].grad, "dvalues": leaves["values"].grad}
    cases.append(case("ppo_clipped", name, options, inputs, out | {"metrics": metrics}))


def adaptive_kl(cases: list, folder: Path) -> None:
    _, space = named(folder / "trl/trainer/utils.py", "AdaptiveKLController")
    numbers = Numbers(5)
    for at in range(6):
        inputs = {"coefficient": numbers.one(0.01, 0.5), "kl": numbers.one(-1, 14), "responses": 64 * (1 + at)}
        options = {"target": 6.0, "horizon": 10000.0}
        controller = space["AdaptiveKLController"](inputs["coefficient"], options["target"], options["horizon"])
        controller.update(inputs["kl"], inputs["responses"])
        cases.append(case("adaptive_kl", f"{at}", options, inputs, {"coefficient": controller.value}))


# The GRPO family.


def advantages(cases: list) -> None:
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    lines = [
        cut(source, "unscorable_mask = torch.isnan(rewards_per_func)", "advantages = torch.nan_to_num("),
        cut(source, "exclude unscorable rows from the logged", 'frac_reward_zero_std"].append('),
    ]
    numbers = Numbers(6)
    for at, scale in enumerate(("group", "batch", "none") * 3):
        groups, size, weights = 3, 4, [[1.0], [1.0, 0.5], [0.3, 2.0]][at // 3]
        rewards = [numbers.many(len(weights), -2, 2) for _ in range(groups * size)]
        rewards[size : 2 * size] = [list(rewards[size]) for _ in range(size)]
        if at >= 3:
            for row in numbers.random.sample(range(size), 2):
                rewards[row][0] = math.nan
        if at >= 6:
            rewards[-1] = [math.nan] * len(weights)
            rewards[size : 2 * size] = [[math.nan] * len(weights)] * (size - 1) + [rewards[size]]
        made = SimpleNamespace(
            multi_objective_aggregation="sum_then_normalize", reward_weights=tensor(weights), scale_rewards=scale,
            _metrics={"eval": defaultdict(list)},
        )  # fmt: skip
        here = {"torch": torch, "nanstd": nanstd, "self": made, "mode": "eval", "device": "cpu"}
        here |= {"num_generations": size, "rewards_per_func": tensor(rewards)}
        exec(lines[0], here)
        exec(lines[1], here)
        inputs = {"rewards": [None if math.isnan(x) else x for row in rewards for x in row], "weights": weights}
        options = {"group": size, "scale": scale}
        out = {"advantages": here["advantages"], "metrics": logged(made)}
        cases.append(case("advantages", f"{at} {scale} functions={len(weights)}", options, inputs, out))


def grpo(cases: list) -> None:
    numbers = Numbers(7)
    for loss_type in ("grpo", "bnpo", "dr_grpo", "dapo"):
        for level in ("token", "sequence"):
            for beta, high, empty in ((0.0, 0.2, False), (0.04, 0.28, True), (0.2, 0.2, False)):
                lengths = [3, 1, 5, 0 if empty else 4]
                options = {"loss_type": loss_type, "level": level, "epsilon": 0.2, "epsilon_high": high, "beta": beta}
                options |= {"max_completion_length": 8, "tokens": sum(lengths) * (2 if beta == 0.2 else 1)}
                old = numbers.many(sum(lengths), -3, -0.1)
                inputs = {"lengths": lengths, "old_policy": old, "policy": numbers.near(old, 0.6)}
                inputs |= {"reference": numbers.near(old, 0.6), "advantages": numbers.many(4, -2, 2)}
                name = f"{loss_type} {level} beta={beta}{' empty' * empty}"
                cases.append(case("grpo", name, options, inputs, grouped(inputs, options)))


def grouped(inputs: dict, options: dict) -> dict:
    lengths = torch.tensor(inputs["lengths"])
    mask = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
    policy = leaf(inputs["policy"])

    def padded(values: torch.Tensor) -> torch.Tensor:
        return torch.full(mask.shape, -1.5, dtype=torch.float64).masked_scatter(mask, values)

    now = padded(policy)
    made = trainer(
        GRPOTrainer, top_entropy_quantile=1.0, off_policy_mask_threshold=None, beta=options["beta"],
        importance_sampling_level=options["level"], loss_type=options["loss_type"], epsilon_low=options["epsilon"],
        epsilon_high=options["epsilon_high"], use_vllm=False, vllm_importance_sampling_correction=False,
        max_completion_length=options["max_completion_length"], current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False, args=SimpleNamespace(use_bias_correction_kl=False, delta=None),
    )  # fmt: skip
    made._get_per_token_logps_and_entropies = lambda *_, **__: (now, torch.zeros_like(now), None)
    prompt = torch.ones(len(lengths), 1, dtype=torch.long)
    batch = {"prompt_ids": prompt, "prompt_mask": prompt, "completion_ids": mask.long(), "completion_mask": mask.long()}
    batch |= {"advantages": tensor(inputs["advantages"]), "old_per_token_logps": padded(tensor(inputs["old_policy"]))}
    batch |= {"ref_per_token_logps": padded(tensor(inputs["reference"]))}
    batch |= {"num_items_in_batch": torch.tensor(options["tokens"])}
    loss = made._compute_loss(None, batch)
    loss.backward()
    metrics = {name: value for name, value in logged(made).items() if name != "entropy"}
    return {"loss": loss, "derivatives": policy.grad, "metrics": metrics}
