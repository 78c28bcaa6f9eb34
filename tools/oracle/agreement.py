"""Figures of agreement and intervals by other people's code, for tests/golden/agreement.json.

    pip install numpy==2.4.6 scipy==1.17.1 krippendorff==0.9.0 statsmodels==0.15.0
    python tools/oracle/agreement.py tests/golden/agreement.json
"""

import json
import sys

import krippendorff
import numpy as np
import scipy.stats
import statsmodels.api as sm
from statsmodels.stats.proportion import proportion_confint

random = np.random.default_rng(20261128)


def ranks(count):
    """Competition ranks (1, 2, 2, 4) of random scores with ties."""
    scores = random.integers(0, max(2, count), count)
    return [int(1 + (scores < score).sum()) for score in scores]


def taus():
    out = []
    for count in [2, 2, 3, 4, 5, 6, 7, 9, 9, 9, 4, 4]:
        a, b = ranks(count), ranks(count)
        tau = scipy.stats.kendalltau(a, b, variant="b").statistic
        out.append({"a": a, "b": b, "tau_b": None if np.isnan(tau) else float(tau)})
    out.append({"a": [1, 1, 1], "b": [1, 2, 3], "tau_b": None})
    return out


def alphas():
    out = []
    for units, raters, levels, missing in [(6, 2, 3, 0.0), (20, 3, 5, 0.3), (40, 4, 9, 0.5), (30, 2, 2, 0.1), (12, 5, 4, 0.6)]:
        truth = random.integers(1, levels + 1, units)
        table = np.where(random.random((raters, units)) < 0.6, truth, random.integers(1, levels + 1, (raters, units)))
        table = np.where(random.random((raters, units)) < missing, np.nan, table.astype(float))
        case = {"units": [[float(v) for v in column if not np.isnan(v)] for column in table.T]}
        for level in ["nominal", "ordinal"]:
            case[level] = float(krippendorff.alpha(reliability_data=table, level_of_measurement=level))
        out.append(case)
    return out


def wilsons():
    out = []
    for share, count in [(0.5, 10), (0.0, 7), (1.0, 30), (0.726, 500), (0.31, 13.7)]:
        low, high = proportion_confint(share * count, count, alpha=0.05, method="wilson")
        out.append({"share": share, "count": count, "low": float(max(low, 0)), "high": float(min(high, 1))})
    return out


def rates():
    """Wilson's interval for n over the design effect, whose variance is statsmodels' cluster-robust one."""
    out = []
    for clusters, size, same in [(30, 1, 0.0), (12, 4, 0.9), (25, 3, 0.2), (8, 9, 0.5)]:
        of = np.repeat(np.arange(clusters), size)
        base = random.choice([0.0, 0.5, 1.0], clusters, p=[0.35, 0.1, 0.55])
        own = random.choice([0.0, 0.5, 1.0], clusters * size, p=[0.35, 0.1, 0.55])
        values = np.where(random.random(clusters * size) < same, base[of], own)
        n, share = len(values), float(values.mean())
        fit = sm.OLS(values, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": of, "use_correction": True})
        robust, simple = float(fit.bse[0]) ** 2, share * (1 - share) / n
        effective = n if clusters == n else n / max(robust / simple, 1.0)
        low, high = proportion_confint(share * effective, effective, alpha=0.05, method="wilson")
        judgements = [[int(cluster), float(value)] for cluster, value in zip(of, values)]
        out.append({"judgements": judgements, "share": share, "low": float(low), "high": float(high)})
    return out


golden = {"tau_b": taus(), "alpha": alphas(), "wilson": wilsons(), "rate": rates()}
with open(sys.argv[1], "w") as file:
    # One case a line.
    parts = [json.dumps(key) + ": [\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]" for key, cases in golden.items()]
    file.write("{" + ",\n".join(parts) + "}\n")
