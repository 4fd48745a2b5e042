"""Networks inside random ones: masks over weights that are never trained, and what training them afterwards adds.

Source: Zhou et al. 2019, "Deconstructing lottery tickets", section 5; Ramanujan et al. 2020, "What's hidden in a
randomly weighted neural network?"; Sreenivasan et al. 2022, "Rare Gems: finding lottery tickets at initialization".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from prunus.laboratory import (
    BestEdges,
    Chances,
    Elsewhere,
    Engine,
    Frozen,
    Gems,
    Masked,
    Pruned,
    Shuffled,
    Supermasked,
    Task,
    Trained,
    serial,
)
from prunus.progress import Progress, silent
from prunus.recipe.replicates import check_replicates
from prunus.recipe.tables import Row, keep_table
from prunus.settings import Settings
from prunus.store import Piece, Store, identity
from prunus.supermask import Start

CONSTANT, UNIFORM = "signed-constant", "uniform"


@dataclass(frozen=True)
class Plan:
    """What is decided before; a kind of mask that has no settings, or no densities, is left out.

    `dense` trains the networks that heuristics look at, and the survivors of Gem-Miner. Heuristic masks have one of
    `heuristics`, the densities among which the validation part decides, once for all seeds. `scope` is that of
    edge-popup.
    """

    task: Task
    dense: Settings
    chances: Settings | None = None
    edges: Settings | None = None
    gems: Settings | None = None
    heuristics: tuple[float, ...] = ()
    edge_densities: tuple[float, ...] = ()
    gem_densities: tuple[float, ...] = ()
    scope: str = "tensor"
    every: int = 1
    strength: float = 5e-5
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        check_replicates(self.seeds)


def trained(plan: Plan, seed: int) -> Trained:
    """The dense network that starts from the uniform weights."""
    return Trained(plan.task, Frozen(plan.task, Start(UNIFORM, seed)), plan.dense, seed)


def heuristic(plan: Plan, seed: int, kind: str, density: float) -> Masked:
    """What training made large and left its sign, over weights as they were or their signs times a constant."""
    start = Frozen(plan.task, Start(UNIFORM, seed))
    mask = Pruned(
        plan.task, trained(plan, seed), keep=density, initial=start, score="large_final_same_sign", scope="tensor"
    )
    return Masked(plan.task, Start(kind, seed), mask)


def learned(plan: Plan, settings: Settings, seed: int) -> dict[str, Supermasked]:
    """Bernoulli masks: over weights drawn in two ways, as they are or rescaled by what is kept."""

    def run(kind: str, rescale: float) -> Supermasked:
        return Supermasked(plan.task, Chances(rescale=rescale), Start(kind, seed), settings, seed)

    return {
        "learned": run(UNIFORM, 0.0),
        "learned, signed constant": run(CONSTANT, 0.0),
        "learned, rescaled": run(UNIFORM, 1.0),
        "learned, signed constant, rescaled": run(CONSTANT, 1.0),
    }


def edge_popup(plan: Plan, settings: Settings, seed: int, density: float) -> Supermasked:
    """The best edges of a signed constant, scaled to the density."""
    start = Start(CONSTANT, seed, density)
    return Supermasked(plan.task, BestEdges(density, plan.scope), start, settings, seed)


def gem(plan: Plan, settings: Settings, seed: int, density: float) -> Supermasked:
    """The gem in a signed constant."""
    method = Gems(density, plan.every, plan.strength)
    return Supermasked(plan.task, method, Start(CONSTANT, seed), settings, seed)


def polished(plan: Plan, settings: Settings, seed: int, density: float) -> dict[str, Trained]:
    """A gem's survivors trained, and three controls: does it matter where they are, and what they were?

    `shuffled`: at random places of the same tensors. `re-initialised`: weights of another seed. `inverted`: at random
    places among those that were frozen out.
    """
    start, found = Start(CONSTANT, seed, density), gem(plan, settings, seed, density)

    def tuned(start: Start, mask: Piece) -> Trained:
        return Trained(plan.task, Frozen(plan.task, start), plan.dense, seed, mask)

    return {
        "trained": tuned(start, found),
        "shuffled": tuned(start, Shuffled(found, seed)),
        "re-initialised": tuned(Start(CONSTANT, seed + 1_000_000, density), found),
        "inverted": tuned(start, Elsewhere(found, seed)),
    }


@dataclass(frozen=True)
class Study:
    """Rows of networks that were not trained, and of gems whose survivors were; accuracy is percent right on test."""

    masks: tuple[Row, ...]
    trained: tuple[Row, ...]


def study(plan: Plan, store: Store, engine: Engine = serial, progress: Progress = silent) -> Study:
    """Learn all masks of `plan`; what `store` holds already is not made again."""
    masks = [_masks(plan, seed) for seed in plan.seeds]
    heuristics = {
        (kind, density): [heuristic(plan, seed, kind, density) for seed in plan.seeds]
        for kind in (UNIFORM, CONSTANT)
        for density in plan.heuristics
    }
    gems = [_gems(plan, seed) for seed in plan.seeds]
    dense = [trained(plan, seed) for seed in plan.seeds] if plan.heuristics else []
    engine(store, [*dense, *_all(masks), *_all(gems), *(run for runs in heuristics.values() for run in runs)], progress)

    rows = []
    for kind in (UNIFORM, CONSTANT) if plan.heuristics else ():
        density = min(plan.heuristics, key=lambda density: _validation(store, heuristics[kind, density]))
        name = f"large final, same sign{', signed constant' if kind == CONSTANT else ''}"
        rows.append(_row(store, name, heuristics[kind, density], _of_mask))
    for name in masks[0]:
        runs: list[Piece] = [one[name] for one in masks]
        rows.append(_row(store, name, runs, _of_mask))
        if "error_of_samples" in store.metrics(runs[0]):
            rows.append(_row(store, f"{name}; mean of samples", runs, _of_samples))
    tuned = [_row(store, name, [one[name] for one in gems], _of_trained) for name in gems[0]]
    if dense:
        tuned.insert(0, _row(store, "dense", dense, _of_trained))
    found = Study(tuple(rows), tuple(tuned))
    seeds = f"means and sample standard deviations over {len(plan.seeds)} seeds"
    where = f"{plan.task.model} on {plan.task.data}"
    for title, table in ((f"Supermasks: {where}", found.masks), (f"Gems, trained: {where}", found.trained)):
        if table:
            keep_table(store, title, f"Percent right on the test part, {seeds}.", table)
    return found


def _masks(plan: Plan, seed: int) -> dict[str, Supermasked]:
    found = learned(plan, plan.chances, seed) if plan.chances else {}
    if plan.edges:
        for density in plan.edge_densities:
            found[f"edge-popup {100 * density:g} %"] = edge_popup(plan, plan.edges, seed, density)
    if plan.gems:
        for density in plan.gem_densities:
            found[f"gem-miner {100 * density:g} %"] = gem(plan, plan.gems, seed, density)
    return found


def _gems(plan: Plan, seed: int) -> dict[str, Trained]:
    if not plan.gems:
        return {}
    return {
        f"gem-miner {100 * density:g} %, {name}": run
        for density in plan.gem_densities
        for name, run in polished(plan, plan.gems, seed, density).items()
    }


def _all(replicates: Sequence[Mapping[str, Piece]]) -> Iterator[Piece]:
    for lines in replicates:
        yield from lines.values()


def _validation(store: Store, runs: Sequence[Piece]) -> float:
    return fmean(store.metrics(run)["error_validation"] for run in runs)


def _row(store: Store, name: str, runs: Sequence[Piece], figures: Callable[[Any], dict[str, float]]) -> Row:
    found = [figures(store.metrics(run)) for run in runs]
    return Row(name, {key: tuple(one[key] for one in found) for key in found[0]}, tuple(map(identity, runs)))


def _of_mask(metrics: Any) -> dict[str, float]:
    return {
        "accuracy": 100 - metrics["error"],
        "kept, percent": 100 * metrics["density"],
        "bytes": metrics["file_bytes"],
        "times smaller": metrics["dense_bytes"] / metrics["file_bytes"],
    }


def _of_samples(metrics: Any) -> dict[str, float]:
    return {**_of_mask(metrics), "accuracy": 100 - metrics["error_of_samples"]}


def _of_trained(metrics: Any) -> dict[str, float]:
    return {"accuracy": 100 - metrics["error"]}
