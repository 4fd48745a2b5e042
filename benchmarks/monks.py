r"""Optimal Brain Surgeon where it was published: the MONK's problems, beside Optimal Brain Damage and magnitude.

    python benchmarks/monks.py [--seeds 0 1 ... 9]

Three rules over six attributes of 3, 3, 2, 3, 4 and 2 values, 432 rows, one input a value; 1: the first two are equal,
or the fifth has its first value; 2: exactly two have their first value; 3: the fifth has its third value and the fourth
its first, or the fifth has not its fourth and the second not its third. 124, 169 and 122 rows to train on, drawn by the
seed (the published ones are one such draw); of the third's, 5 % are labelled wrongly. The test is on all 432.
Networks are 17-3-1, 17-2-1 and 17-2-1 with biases, sigmoid, squared errors and weight decay, trained by L-BFGS from ten
starts, of which that of the least loss is taken. On seed 99, a decay is chosen by the rows that it has not seen, and
where H^-1 of OBS starts, within what its authors take, by how many weights are left of its own rows.

Weights, biases too, go one at a time, the measurement anew after each, with no training or with some between. What is
kept is the least that was reached with no more training rows wrong than at first, up to the first moment with more.
Published (Hassibi & Stork 1993, from memory): 58 weights become 14, 39 become 15, 39 become 4, at the accuracies of the
networks with weight decay: 100, 100 and 97.2 % on the test. A problem holds where OBS, untrained between, keeps no more
than that in the median over the seeds; written before the runs. Writes results/monks.json.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from math import sqrt
from statistics import fmean, median, stdev

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiment import print_table
from machine import keep
from prunus import prune, score
from prunus.curvature import hessian_diagonals, inverse_hessian
from prunus.laboratory.engine import one_thread
from prunus.layerwise import obs
from prunus.mask import Mask
from prunus.tree import assign

VALUES = (3, 3, 2, 3, 4, 2)
DECAYS = (1e-4, 3e-4, 1e-3, 3e-3)
DAMPINGS = (1e-8, 1e-6, 1e-4)
TUNED_ON = 99


@dataclass(frozen=True)
class Problem:
    rule: Callable[..., bool]
    rows: int
    hidden: int
    noise: float
    published: int


PROBLEMS = {
    "MONK-1": Problem(lambda a, b, c, d, e, f: a == b or e == 1, 124, 3, 0.0, 14),
    "MONK-2": Problem(lambda *values: values.count(1) == 2, 169, 2, 0.0, 15),
    "MONK-3": Problem(lambda a, b, c, d, e, f: (e == 3 and d == 1) or (e != 4 and b != 3), 122, 2, 0.05, 4),
}


class Small(nn.Module):
    """17 inputs, some hidden units, one output; biases are the weights of an input, and of a unit, that is always 1."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(18, hidden, bias=False)
        self.second = nn.Linear(hidden + 1, 1, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, 17) to (B, 1)."""
        hidden = torch.sigmoid(self.first(F.pad(inputs, (0, 1), value=1.0)))
        return torch.sigmoid(self.second(F.pad(hidden, (0, 1), value=1.0)))


@dataclass(frozen=True)
class Rows:
    """The rows to train on, and all 432."""

    inputs: Tensor
    labels: Tensor
    all_inputs: Tensor
    all_labels: Tensor
    unseen: Tensor

    def wrong(self, model: nn.Module) -> int:
        return wrong(model, self.inputs, self.labels)

    def accuracy(self, model: nn.Module) -> float:
        return 100 - 100 * wrong(model, self.all_inputs, self.all_labels) / len(self.all_labels)


Remove = Callable[[nn.Module, Rows, Mask], Mask]
"""One weight less; the others may move."""


@torch.no_grad()
def wrong(model: nn.Module, inputs: Tensor, labels: Tensor) -> int:
    return int(((model(inputs) > 0.5) != (labels > 0.5)).sum())


def drawn(problem: Problem, seed: int) -> Rows:
    table = list(product(*(range(1, count + 1) for count in VALUES)))
    labels = torch.tensor([[float(problem.rule(*row))] for row in table], dtype=torch.float64)
    columns = [
        F.one_hot(torch.tensor(column) - 1, n) for column, n in zip(zip(*table, strict=True), VALUES, strict=True)
    ]
    inputs = torch.cat(columns, 1).double()
    places = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))
    seen, unseen = places[: problem.rows], places[problem.rows :]
    noisy = labels[seen].clone()
    flipped = round(problem.noise * problem.rows)
    noisy[:flipped] = 1 - noisy[:flipped]
    return Rows(inputs[seen], noisy, inputs, labels, unseen)


def trained(problem: Problem, rows: Rows, decay: float, seed: int) -> nn.Module:
    """The best of ten."""
    found = []
    for start in range(10):
        torch.manual_seed(1000 * seed + start)
        model = Small(problem.hidden).double()
        found.append((descend(model, rows, decay, Mask.dense(model), 400), start, model))
    return min(found)[2]


def descend(model: nn.Module, rows: Rows, decay: float, mask: Mask, steps: int) -> float:
    """L-BFGS on the weights that the mask keeps; the loss."""
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        size = sum(weight.square().sum() for weight in model.parameters())
        value = F.mse_loss(model(rows.inputs), rows.labels) + decay * size
        value.backward()
        for name, weight in model.named_parameters():
            weight.grad.mul_(mask[name])
        return value

    optimizer.step(loss)
    return float(loss())


def decay_of(problem: Problem) -> float:
    """That of the fewest unseen rows wrong, of equals the largest."""
    rows = drawn(problem, TUNED_ON)

    def errors(decay: float) -> int:
        model = trained(problem, rows, decay, TUNED_ON)
        return wrong(model, rows.all_inputs[rows.unseen], rows.all_labels[rows.unseen])

    return min(reversed(DECAYS), key=errors)


def damping_of(problem: Problem, decay: float) -> float:
    """That with which OBS, untrained between, leaves the fewest weights, of equals the largest."""
    rows = drawn(problem, TUNED_ON)
    model = trained(problem, rows, decay, TUNED_ON)
    return min(reversed(DAMPINGS), key=lambda damping: least(model, rows, decay, by_obs(damping), 0)[0])


def by_obs(damping: float) -> Remove:
    def remove(model: nn.Module, rows: Rows, mask: Mask) -> Mask:
        inverse = inverse_hessian(model, [(rows.inputs, rows.labels)], damping=damping, loss=F.mse_loss)
        moved, kept = obs(model, inverse, (mask.kept - 1) / mask.total)
        assign(model, kept.apply(moved))
        return kept

    return remove


def by_obd(model: nn.Module, rows: Rows, mask: Mask) -> Mask:
    found = hessian_diagonals(model, [(rows.inputs, rows.labels)], F.mse_loss, gauss_newton=True)
    return scored(model, mask, score.obd, hessian_diagonals=found)


def by_magnitude(model: nn.Module, rows: Rows, mask: Mask) -> Mask:
    return scored(model, mask, score.magnitude)


def scored(model: nn.Module, mask: Mask, worth: Callable[..., dict[str, Tensor]], **evidence: object) -> Mask:
    kept = prune(model, worth, (mask.kept - 1) / mask.total, within=mask, allow_empty=True, **evidence)
    kept.apply_to(model)
    return kept


METHODS = ("OBS", "OBD", "magnitude")


def least(model: nn.Module, rows: Rows, decay: float, remove: Remove, retrain: int) -> tuple[int, float]:
    """How many weights are left before training rows go wrong, and the accuracy on the test with those."""
    model, mask, limit = deepcopy(model), Mask.dense(model), rows.wrong(model)
    found = mask.kept, rows.accuracy(model)
    while mask.kept > 1:
        mask = remove(model, rows, mask)
        if retrain:
            descend(model, rows, decay, mask, retrain)
        if rows.wrong(model) > limit:
            break
        found = mask.kept, rows.accuracy(model)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--retrain", type=int, default=50, help="L-BFGS steps after each weight, where there are any")
    chosen = parser.parse_args()
    with one_thread():
        found = [studied(name, problem, chosen.seeds, chosen.retrain) for name, problem in PROBLEMS.items()]
    print_table(["problem", "weights", "published", "trained between", *METHODS, "holds"], list(rows_of(found)))
    print_table(["problem", "trained between", "OBS less", "weights +- two standard errors"], list(differences(found)))
    print(keep("monks", {"seeds": chosen.seeds, "retrain": chosen.retrain, "problems": found}))


def studied(name: str, problem: Problem, seeds: Sequence[int], retrain: int) -> dict[str, object]:
    decay = decay_of(problem)
    damping = damping_of(problem, decay)
    methods = dict(zip(METHODS, (by_obs(damping), by_obd, by_magnitude), strict=True))
    weights, accuracies, errors = 0, [], []
    kept: dict[str, dict[str, list[tuple[int, float]]]] = {"no": {}, "yes": {}}
    for seed in seeds:
        rows = drawn(problem, seed)
        model = trained(problem, rows, decay, seed)
        weights = Mask.dense(model).total
        accuracies.append(rows.accuracy(model))
        errors.append(rows.wrong(model))
        for steps, chains in ((0, kept["no"]), (retrain, kept["yes"])):
            for method, remove in methods.items():
                chains.setdefault(method, []).append(least(model, rows, decay, remove, steps))
        print(name, seed, accuracies[-1], errors[-1], {k: {m: v[-1] for m, v in c.items()} for k, c in kept.items()})
    holds = median(count for count, _ in kept["no"]["OBS"]) <= problem.published
    return {
        "name": name,
        "decay": decay,
        "damping": damping,
        "weights": weights,
        "published": problem.published,
        "accuracy": accuracies,
        "wrong": errors,
        "kept": kept,
        "holds": holds,
    }


def rows_of(found: Sequence[dict]) -> Iterator[list[str]]:
    """Medians and extremes of what is kept, and the mean accuracy with it."""
    for one in found:
        about = [one["name"], f"{one['weights']} ({fmean(one['accuracy']):.1f} %)", str(one["published"])]
        for between, chains in one["kept"].items():
            cells = [summary(chains[method]) for method in METHODS]
            yield [*about, between, *cells, ("yes" if one["holds"] else "no") if between == "no" else ""]


def summary(chain: Sequence[tuple[int, float]]) -> str:
    counts, right = zip(*chain, strict=True)
    return f"{median(counts):g} [{min(counts)}, {max(counts)}] ({fmean(right):.1f} %)"


def differences(found: Sequence[dict]) -> Iterator[list[str]]:
    for one in found:
        for between, chains in one["kept"].items():
            for other in ("OBD", "magnitude"):
                less = [a - b for (a, _), (b, _) in zip(chains["OBS"], chains[other], strict=True)]
                margin = 2 * stdev(less) / sqrt(len(less))
                yield [one["name"], between, other, f"{fmean(less):+.1f} +- {margin:.1f}"]


if __name__ == "__main__":
    main()
