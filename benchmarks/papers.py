"""What the benchmarks that change a search for tickets share: its options, and what came out as plain values."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from experiment import add_options
from prunus.recipe.lottery_ticket import Hunt
from prunus.recipe.replicates import Measured
from prunus.recipe.usual import ticket_settings, ticket_task, usual_hunt
from prunus.store import specification


def options(about: str, *, steps: int, rounds: int, keep: float) -> argparse.ArgumentParser:
    """A parser of the options that all have, with these defaults."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet-300-100")
    add_options(parser, steps=steps)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--keep", type=float, default=keep, help="part that a layer keeps in a round")
    return parser


def hunt_of(chosen: argparse.Namespace) -> Hunt:
    """The paper's search for this network with these steps, rounds and seeds."""
    task = ticket_task(chosen.model, chosen.data)
    settings = replace(ticket_settings(chosen.model), steps=chosen.steps, epochs=None)
    hunt = usual_hunt(task, settings, rounds=chosen.rounds, keep=chosen.keep)
    return replace(hunt, seeds=tuple(chosen.seeds))


def described(hunt: Hunt) -> dict[str, object]:
    """The search as plain values."""
    return {name: value for name, value in specification(hunt).items() if name not in ("kind", "versions")}


def plain(lines: Mapping[str, Sequence[Measured]]) -> dict[str, list[dict[str, object]]]:
    return {
        name: [{**asdict(one), "mean": one.mean, "deviation": one.deviation} for one in line]
        for name, line in lines.items()
    }


def cells(lines: Mapping[str, Sequence[Measured]]) -> list[list[str]]:
    return [[name, *map(str, line)] for name, line in lines.items()]
