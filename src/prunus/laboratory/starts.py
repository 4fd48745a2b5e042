"""Weights to start from: drawn, rewound, or changed on purpose."""

from dataclasses import dataclass

from prunus.laboratory.task import Task
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece
from prunus.ticket import actions, early_phase
from prunus.ticket.noise import generator_for, quiet


@dataclass(frozen=True, eq=False)
class Drawn:
    """Fresh weights."""

    task: Task
    seed: int

    def make(self, bench: Bench) -> Outcome:
        """Draw them."""
        with quiet():
            return Outcome(Snapshot.take(self.task.network(self.seed)))


@dataclass(frozen=True, eq=False)
class Rewound:
    """Weights of one moment with the schedule, optimizer and data order of another.

    Learning-rate rewinding (Renda et al. 2020) has trained weights and the schedule of an early step; fine-tuning
    has trained weights and a schedule that begins anew.
    """

    weights: Piece
    schedule: Piece

    def make(self, bench: Bench) -> Outcome:
        """Put the two together."""
        trained, moment = bench.result(self.weights), bench.result(self.schedule)
        return Outcome(
            Snapshot(trained.weights, trained.buffers, moment.optimizer, moment.step, moment.random, moment.order, {})
        )


@dataclass(frozen=True, eq=False)
class Acted:
    """A ticket's start under a mask-1 and a mask-0 action of Zhou et al. 2019, by their names in `ticket.actions`.

    `trained` is what became of `start`, for actions that compare the two; `fresh` are weights drawn from another seed.
    """

    start: Piece
    mask: Piece
    kept: str = "rewind"
    pruned: str = "zero"
    trained: Piece | None = None
    fresh: Piece | None = None
    seed: int = 0

    def make(self, bench: Bench) -> Outcome:
        """Change the start."""
        start: Snapshot = bench.result(self.start)
        weights = actions.acted(
            start.weights,
            bench.result(self.trained).weights if self.trained else None,
            bench.result(self.mask),
            kept=self.kept,
            pruned=self.pruned,
            generator=generator_for(self.seed, "acted"),
            fresh=bench.result(self.fresh).weights if self.fresh else None,
        )
        return Outcome(Snapshot(weights, start.buffers, None, start.step, start.random, start.order, {}))


@dataclass(frozen=True, eq=False)
class Perturbed:
    """A start whose weights lost something: values, places or exactness (Frankle, Schwab & Morcos 2020)."""

    start: Piece
    initial: Piece
    mask: Piece
    change: str
    amount: float = 1.0
    seed: int = 0

    def make(self, bench: Bench) -> Outcome:
        """Perturb it."""
        start: Snapshot = bench.result(self.start)
        weights = early_phase.perturbed(
            start.weights,
            bench.result(self.initial).weights,
            bench.result(self.mask),
            change=self.change,
            amount=self.amount,
            generator=generator_for(self.seed, "perturbed"),
        )
        return Outcome(Snapshot(weights, start.buffers, None, start.step, start.random, start.order, {}))
