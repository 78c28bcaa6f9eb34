"""Reference values of the figures of answers and scores.

    python metrics.py tests/golden/metrics.json --transformers DIR

Versions: rouge-score 0.1.2, statsmodels 0.15.0, scikit-learn 1.9.1, numpy 2.4.6; and of transformers 4.57.1, the last
line that carries SQuAD 2.0's evaluation script, three functions, which are read and not imported:

    pip install rouge-score==0.1.2 statsmodels==0.15.0 scikit-learn==1.9.1 numpy==2.4.6
    pip install --no-deps --target DIR transformers==4.57.1

| figure | whose code |
|---|---|
| exact match and token F1, normalised | transformers.data.metrics.squad_metrics: compute_exact, compute_f1 |
| ROUGE-L | rouge_score.rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False), the F-measure |
| Wilson's interval | statsmodels proportion_confint(method="wilson") |
| cluster-robust standard error | statsmodels OLS on a constant, cov_type="cluster", without corrections |
| pairwise loss | scikit-learn log_loss of sigmoid(margin) |
| calibration | scikit-learn calibration_curve(strategy="uniform", n_bins=20) of sigmoid(|margin|) |

The texts and scores are drawn here from small lists that have what the normal forms are about.
"""

import argparse
import ast
import collections
import json
import random
import re
import string
from pathlib import Path

import numpy as np
import statsmodels.api as sm
from rouge_score import rouge_scorer
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss
from statsmodels.stats.proportion import proportion_confint

WORDS = ["the", "The", "a", "An", "cat", "Cat,", "sat", "on", "mat.", "42", "4.2", "don't", "well-known", "--", "caf\u00e9",
         "Stra\u00dfe", "\u65e5\u672c", "the\u2014cat", "{\"a\":", "1}", "_x_", "  ", "\n", "running", "runs", "A.", "(an)", "\u00c9t\u00e9"]


def squad(folder):
    """The functions of SQuAD's script, from their text."""
    text = (Path(folder) / "transformers/data/metrics/squad_metrics.py").read_text()
    wanted = ["normalize_answer", "get_tokens", "compute_exact", "compute_f1"]
    parts = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    assert len(parts) == len(wanted)
    names = {"re": re, "string": string, "collections": collections}
    exec(compile(ast.Module(body=parts, type_ignores=[]), "squad", "exec"), names)
    return names["normalize_answer"], names["compute_exact"], names["compute_f1"]


def texts(dice):
    pairs = [("", ""), ("", "cat"), ("the", ""), ("The cat.", "cat"), ("a b c d", "b d"), ("\u00e9\u00e9", "\u00e9\u00e9")]
    for _ in range(120):
        reference = " ".join(dice.choices(WORDS, k=dice.randint(0, 12)))
        words = reference.split(" ")
        for _ in range(dice.randint(0, 4)):
            at = dice.randrange(len(words) + 1)
            if dice.random() < 0.5 and words:
                words.pop(min(at, len(words) - 1))
            else:
                words.insert(at, dice.choice(WORDS))
        pairs.append((" ".join(words), reference))
    return pairs


def clusters(dice):
    cases = []
    for size in [1, 7, 40, 200]:
        values = []
        for prompt in range(max(1, size // 3)):
            taste = dice.random()
            for _ in range(dice.randint(1, 5)):
                values.append([prompt, dice.choice([0.0, 1.0, 1.0, 0.5]) if dice.random() < 0.8 else round(taste)])
        cases.append(values)
    cases.append([[0, 1.0], [1, 1.0], [1, 1.0]])
    out = []
    for values in cases:
        groups, y = np.array([v[0] for v in values]), np.array([float(v[1]) for v in values])
        mean, n = float(y.mean()), len(y)
        error = 0.0
        if len(set(groups)) > 1:
            fit = sm.OLS(y, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
            error = float(fit.bse[0])
        if mean * (1 - mean) <= 0 or error < 1e-12:
            effective = float(len(set(groups)))
        else:
            effective = min(mean * (1 - mean) / error**2, n)
        low, high = proportion_confint(mean * effective, effective, alpha=0.05, method="wilson")
        out.append({"values": values, "mean": mean, "error": error, "low": float(low), "high": float(high)})
    return out


def preferences(dice):
    out = []
    for size in [1, 5, 300]:
        pairs = [[round(dice.gauss(0.4, 1.5), 4), round(dice.gauss(0, 1.5), 4)] for _ in range(size)]
        margin = np.array([a - b for a, b in pairs])
        better = 1 / (1 + np.exp(-margin))
        preferred = 1 / (1 + np.exp(-np.abs(margin)))
        right = (margin > 0).astype(float)
        # The pairs of each bar, as calibration_curve bins them.
        edges = np.linspace(0, 1, 21)
        index = np.searchsorted(edges[1:-1], preferred)
        counts = np.bincount(index, minlength=20)
        true, mean = calibration_curve(right, preferred, n_bins=20, strategy="uniform") if 0 < right.sum() < size else (
            np.array([right[index == i].mean() for i in range(20) if counts[i]]),
            np.array([preferred[index == i].mean() for i in range(20) if counts[i]]))
        error = float((np.abs(true - mean) * counts[counts > 0]).sum() / size)
        out.append({"pairs": pairs, "accuracy": float(right.mean()), "margin": float(margin.mean()),
                    "loss": float(log_loss(np.ones(size), better, labels=[0, 1])), "calibration_error": error})
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--transformers", required=True)
    args = parser.parse_args()
    dice = random.Random(20)
    normalise, exact, f1 = squad(args.transformers)
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    rows = [{"answer": answer, "reference": reference, "normal": normalise(answer),
             "exact": exact(reference, answer), "f1": float(f1(reference, answer)),
             "rouge_l": scorer.score(reference, answer)["rougeL"].fmeasure} for answer, reference in texts(dice)]
    shares = []
    for successes, count in [(0, 1), (1, 1), (3, 7), (50, 100), (999, 1000), (2.5, 4)]:
        low, high = proportion_confint(successes, count, alpha=0.05, method="wilson")
        shares.append([successes, count, float(low), float(high)])
    out = {"texts": rows, "wilson": shares, "clusters": clusters(dice), "preferences": preferences(dice)}

    def short(value):
        if isinstance(value, float):
            return float(f"{value:.9g}")
        if isinstance(value, list):
            return [short(one) for one in value]
        return {key: short(one) for key, one in value.items()} if isinstance(value, dict) else value

    lines = []
    for key, cases in short(out).items():
        body = ",\n".join(json.dumps(case) for case in cases)
        lines.append(f"{json.dumps(key)}:[\n{body}\n]")
    Path(args.out).write_text("{" + ",\n".join(lines) + "}\n")


main()
