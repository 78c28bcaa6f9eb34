"""How the oracle of the objectives calls TRL.

A trainer is made without its constructor and given the attributes that its loss reads; the model is a function that
answers with leaf tensors of log-probabilities, scores or values, so autograd gives the derivative by just those
numbers. Where TRL has its formula inside a long method (PPO's training loop, GRPO's advantages), the lines between two
marks are cut out of TRL's source and executed as they stand.
"""

import ast
import random
import textwrap
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

SAME = staticmethod(lambda x, **_: x)


class Alone:
    """An accelerator of one process."""

    device, num_processes, sync_gradients = torch.device("cpu"), 1, True
    gather = gather_for_metrics = reduce = SAME


def trainer(kind: type, **attributes):
    """A trainer without its constructor, in evaluation: its metrics go to `_metrics["eval"]`."""
    made = object.__new__(kind)
    given = {
        "model": SimpleNamespace(training=False),
        "accelerator": Alone(),
        "aux_loss_enabled": False,
        "_metrics": {"eval": defaultdict(list)},
        "_total_train_tokens": 0,
    }
    for name, value in (given | attributes).items():
        setattr(made, name, value)
    return made


def logged(made) -> dict:
    return {name: values[-1] for name, values in made._metrics["eval"].items()}


def cut(source: str, first: str, last: str) -> str:
    """The lines of TRL from the one that holds `first` to the next one that holds `last`, dedented."""
    lines = source.splitlines()
    starts = [at for at, line in enumerate(lines) if first in line]
    assert len(starts) == 1, (first, starts)
    end = next(at for at in range(starts[0], len(lines)) if last in lines[at])
    return textwrap.dedent("\n".join(lines[starts[0] : end + 1]))


def named(path: Path, *names: str) -> tuple[str, dict]:
    """A file's text, and the functions and classes of these names in it, executed."""
    text = path.read_text()
    found = [node for node in ast.parse(text).body if getattr(node, "name", None) in names]
    assert len(found) == len(names), (path, names)
    space = {"torch": torch, "np": np}
    exec(compile(ast.Module(found, []), str(path), "exec"), space)
    return text, space


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def leaf(values) -> torch.Tensor:
    return tensor(values).requires_grad_()


class Numbers:
    """Random inputs of four decimals."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, low: float, high: float) -> float:
        return round(self.random.uniform(low, high), 4)

    def many(self, count: int, low: float, high: float) -> list[float]:
        return [self.one(low, high) for _ in range(count)]

    def near(self, values: list[float], by: float) -> list[float]:
        return [round(value + self.random.uniform(-by, by), 4) for value in values]


def plain(value):
    """Numbers of nine significant digits, lists and names."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def case(family: str, name: str, options: dict, inputs: dict, expected: dict) -> dict:
    return plain({"family": family, "name": name, "options": options, "inputs": inputs, "expected": expected})
