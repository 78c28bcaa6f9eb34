"""Reference values and derivatives of the alignment objectives, from TRL's own code.

    python losses.py tests/golden/losses.json --ppo DIR --kl DIR

Versions: torch 2.15.0, transformers 5.23.0, trl 1.16.0; for PPO trl 1.12.0, the last that has it, and for the adaptive
KL coefficient trl 0.11.4, the last whose PPO adapts it. Both are only read, not imported, and may be unpacked anywhere:

    pip install torch==2.15.0 transformers==5.23.0 trl==1.16.0
    pip install --no-deps --target DIR trl==1.12.0      (and 0.11.4 into another)

How TRL is called stands in `trl_calls.py`.

| family | whose code |
|---|---|
| ranking | RewardTrainer.compute_loss, a prompt's pairs as its batch; halved ties and Plackett-Luce: see below |
| dpo, ipo | DPOTrainer._compute_loss; smoothed: CPOTrainer.cpo_loss on log-ratios, as in trl 0.11's dpo_loss |
| orpo | ORPOTrainer.get_batch_loss_metrics, given the NLL of the completion |
| simpo | CPOTrainer.get_batch_loss_metrics, cpo_alpha 0 |
| kto | KTOTrainer._compute_loss |
| ppo_worth, ppo_clipped | lines of PPOTrainer.train; the score's clip: not in trl 1.12, see below |
| adaptive_kl | AdaptiveKLController |
| advantages | lines of GRPOTrainer._generate_and_score_completions |
| grpo | GRPOTrainer._compute_loss |

Written here, in PyTorch, because TRL has no function to call: ties as halves, Plackett-Luce with Efron's ties, and the
clip of PPO's score (one line of trl 0.11's PPOTrainer.step). PPO's two means that TRL takes over padding too are
turned into means over tokens.

Everything is float64 but ORPO, whose odds TRL takes in float32. Inputs have four decimals, results nine significant
digits. The same bytes every time.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.nn import functional as F
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.reward_trainer import RewardTrainer

from losses_policy import adaptive_kl, advantages, grpo, ppo
from trl_calls import Numbers, case, leaf, logged, tensor, trainer

PINNED = {"torch": "2.15.0", "transformers": "5.23.0", "trl": "1.16.0"}
PINNED_PPO, PINNED_KL = "1.12.0", "0.11.4"

# The reward model.


def ranking(cases: list) -> None:
    numbers = Numbers(1)
    for count in (2, 2, 3, 4, 5, 9):
        for form in ("drop", "half", "plackett_luce"):
            for ties in (False, True):
                for margin, centering in ((False, 0.0), (form != "plackett_luce", 0.01)):
                    if ties and count == 2 and form == "drop":
                        continue
                    scores = numbers.many(count, -3, 3)
                    ranks = [numbers.random.randrange(max(1, count // 2)) for _ in scores]
                    if not ties:
                        ranks = numbers.random.sample(range(count), count)
                    elif len(set(ranks)) == count:
                        ranks[0] = ranks[1]
                    if form == "drop" and len(set(ranks)) == 1:
                        ranks[0] += 1
                    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
                    margins = numbers.many(len(pairs), 0, 1) if margin else None
                    inputs = {"scores": scores, "ranks": ranks, "margins": margins}
                    options = {"form": form, "centering": centering}
                    name = f"K={count} {form}{' ties' * ties}{' margins' * margin}{' centered' * (centering > 0)}"
                    cases.append(case("ranking", name, options, inputs, ranked(inputs, options)))


def ranked(inputs: dict, options: dict) -> dict:
    scores, ranks, form = leaf(inputs["scores"]), inputs["ranks"], options["form"]
    count = len(ranks)
    pairs = [(i, j) if ranks[i] <= ranks[j] else (j, i) for i in range(count) for j in range(i + 1, count)]
    strict = [at for at, (better, worse) in enumerate(pairs) if ranks[better] != ranks[worse]]
    margins = None if inputs["margins"] is None else tensor(inputs["margins"])

    def by_trl(which: list[int], centering: float | None) -> tuple[torch.Tensor, dict]:
        # One prompt's pairs as TRL's batch: the chosen ones, then the rejected ones.
        order = [pairs[at][0] for at in which] + [pairs[at][1] for at in which]
        made = trainer(RewardTrainer, args=SimpleNamespace(center_rewards_coefficient=centering))
        batch = {} if margins is None else {"margin": margins[which]}
        model = lambda **_: SimpleNamespace(logits=scores[order].unsqueeze(-1))
        return made.compute_loss(model, batch), logged(made)

    if form == "drop":
        loss, metrics = by_trl(strict, options["centering"] or None)
        counted = len(strict)
    else:
        # Independent: no code in TRL.
        first, second = scores[[a for a, _ in pairs]], scores[[b for _, b in pairs]]
        loss = options["centering"] * ((first + second) ** 2).mean()
        if form == "half":
            lead = first - second
            over = lead if margins is None else lead - margins
            tied = torch.tensor([ranks[a] == ranks[b] for a, b in pairs])
            both = -0.5 * (F.logsigmoid(lead) + F.logsigmoid(-lead))
            loss = loss + torch.where(tied, both, -F.logsigmoid(over)).mean()
        else:
            for rank in sorted(set(ranks)):
                here = scores[[at for at in range(count) if ranks[at] == rank]]
                rest = scores[[at for at in range(count) if ranks[at] > rank]].exp().sum()
                for taken in range(len(here)):
                    loss = loss + torch.log(rest + (1 - taken / len(here)) * here.exp().sum())
                loss = loss - here.sum()
        counted = len(pairs)
        metrics = by_trl(strict, None)[1] if strict else {"accuracy": 0.0, "margin": 0.0}
    loss.backward()
    return {
        "loss": loss,
        "derivatives": scores.grad,
        "pairs": counted,
        "right": round(metrics["accuracy"] * len(strict)),
        "margin_sum": metrics["margin"] * len(strict),
    }


# Pairs without a reward model.


def outputs(log_probs: torch.Tensor) -> SimpleNamespace:
    """What TRL's fused head answers, with log-probabilities of ours."""
    zeros = torch.zeros_like(log_probs)
    return SimpleNamespace(log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


def laid(sums: torch.Tensor, counts: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums spread over rows of tokens behind a prompt of two: log-probabilities (b, t - 1), completion mask (b, t)."""
    length = 2 + max(counts)
    mask = torch.zeros(len(counts), length, dtype=torch.long)
    for row, count in enumerate(counts):
        mask[row, 2 : 2 + count] = 1
    return mask[:, 1:] * (sums / tensor(counts)).unsqueeze(1), mask


def preference(cases: list) -> None:
    numbers = Numbers(2)
    kinds = [
        ("dpo", {"beta": 0.1, "label_smoothing": 0.0}),
        ("dpo", {"beta": 0.5, "label_smoothing": 0.0}),
        ("dpo", {"beta": 0.1, "label_smoothing": 0.1}),
        ("ipo", {"beta": 0.1}),
        ("ipo", {"beta": 0.4}),
        ("orpo", {"beta": 0.1}),
        ("orpo", {"beta": 0.3}),
        ("simpo", {"beta": 2.5, "gamma": 1.375, "label_smoothing": 0.0}),
        ("simpo", {"beta": 2.0, "gamma": 0.5, "label_smoothing": 0.1}),
    ]
    for family, options in kinds:
        for at in range(5):
            counts = [numbers.random.randrange(1, 30) for _ in range(2)]
            policy = [round(count * numbers.one(-2.5, -0.2), 4) for count in counts]
            inputs = {"policy": policy, "reference": numbers.near(policy, 6), "tokens": counts}
            name = f"{at} " + " ".join(f"{key}={value}" for key, value in options.items())
            cases.append(case(family, name, options, inputs, preferred(family, options, inputs)))


def preferred(family: str, options: dict, inputs: dict) -> dict:
    sums, reference = leaf(inputs["policy"]), tensor(inputs["reference"])
    counts, beta = inputs["tokens"], options["beta"]
    smoothing = options.get("label_smoothing", 0.0)
    means = sums / tensor(counts)
    empty = torch.zeros(1, 1, 1)
    if family in ("dpo", "ipo"):
        made = trainer(
            DPOTrainer, beta=beta, loss_types=["ipo" if family == "ipo" else "sigmoid"], loss_weights=[1.0],
            label_smoothing=0.0, f_divergence_type="reverse_kl", ld_alpha=None, use_weighting=False,
            precompute_ref_logps=True,
        )  # fmt: skip
        log_probs, mask = laid(sums, counts)
        batch = {"input_ids": torch.zeros_like(mask), "completion_mask": mask, "attention_mask": torch.ones_like(mask)}
        batch |= {"ref_chosen_logps": reference[:1], "ref_rejected_logps": reference[1:]}
        loss = made._compute_loss(lambda **_: outputs(log_probs), batch, False)
        if smoothing:
            smooth = trainer(CPOTrainer, beta=beta, loss_type="sigmoid", label_smoothing=smoothing, alpha=0.0)
            ratios = sums - reference
            loss = smooth.cpo_loss(ratios[:1], ratios[1:])[0].mean()
        metrics = logged(made)
    elif family == "orpo":
        made = trainer(ORPOTrainer, beta=beta)
        made.concatenated_forward = lambda *_: (means[:1], means[1:], empty, empty, -means[0])
        loss, metrics = made.get_batch_loss_metrics(None, {}, "train")
    else:
        made = trainer(CPOTrainer, beta=beta, loss_type="simpo", simpo_gamma=options["gamma"], alpha=0.0)
        made.label_smoothing, made.cpo_alpha = smoothing, 0.0
        made.concatenated_forward = lambda *_: (means[:1], means[1:], empty, empty, -means[0])
        loss, metrics = made.get_batch_loss_metrics(None, {}, "train")
    loss.backward()
    wanted = ("rewards/", "logps/", "log_odds") + (("nll_loss",) if family == "orpo" else ())
    metrics = {name: value for name, value in metrics.items() if name.startswith(wanted)}
    return {"loss": loss, "derivatives": sums.grad, "metrics": metrics}


def kto(cases: list) -> None:
    numbers = Numbers(3)
    for at in range(10):
        count = 1 + numbers.random.randrange(6)
        desirable = [numbers.random.random() < 0.5 for _ in range(count)]
        if at < 2:
            count, desirable = 3, [at == 0] * 3
        policy = numbers.many(count, -40, -1)
        options = {"beta": (0.1, 0.5)[at % 2], "desirable_weight": 1.0, "undesirable_weight": 1.0}
        if at % 3 == 2:
            options |= {"desirable_weight": 1.33, "undesirable_weight": 0.8}
        low = -6 if at % 4 == 3 else 0
        mismatched = numbers.many(count, low, low + 5)
        inputs = {"policy": policy, "reference": numbers.near(policy, 6), "desirable": desirable}
        inputs |= {"mismatched": mismatched}
        sums, counts = leaf(policy), [3] * count
        log_probs, mask = laid(sums, counts)
        made = trainer(KTOTrainer, loss_type="kto", calculate_KL=True, precompute_ref_logps=True, **options)
        made._compute_kl_logps = lambda *_: tensor(mismatched) - 20
        batch = {"input_ids": torch.zeros_like(mask), "completion_mask": mask, "attention_mask": torch.ones_like(mask)}
        batch |= {"label": torch.tensor(desirable), "ref_logps": tensor(inputs["reference"])}
        batch |= {"ref_KL_logps": torch.full((count,), -20.0, dtype=torch.float64)}
        loss = made._compute_loss(lambda **_: outputs(log_probs), batch, False)
        loss.backward()
        metrics = {n: v for n, v in logged(made).items() if n == "kl" or n.startswith(("rewards/", "logps/"))}
        out = {"loss": loss, "derivatives": sums.grad, "metrics": metrics}
        cases.append(case("kto", f"{at} n={count}", options, inputs, out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--ppo", type=Path, required=True, help="where trl 1.12.0 is unpacked")
    parser.add_argument("--kl", type=Path, required=True, help="where trl 0.11.4 is unpacked")
    asked = parser.parse_args()
    for package, wanted in PINNED.items():
        assert version(package).split("+")[0] == wanted, f"{package} is {version(package)}, not {wanted}"
    for folder, wanted in ((asked.ppo, PINNED_PPO), (asked.kl, PINNED_KL)):
        assert (folder / f"trl-{wanted}.dist-info").is_dir(), f"{folder} does not hold trl {wanted}"
    torch.set_num_threads(1)
    cases: list[dict] = []
    ranking(cases)
    preference(cases)
    kto(cases)
    ppo(cases, asked.ppo)
    adaptive_kl(cases, asked.kl)
    advantages(cases)
    grpo(cases)
    made_with = PINNED | {"trl for PPO": PINNED_PPO, "trl for the adaptive KL": PINNED_KL}
    lines = ",\n".join(json.dumps(one, separators=(",", ":"), allow_nan=False) for one in cases)
    asked.out.write_text(f'{{"made_with":{json.dumps(made_with)},\n"cases":[\n{lines}\n]}}\n')
    print(f"{len(cases)} cases, {asked.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
