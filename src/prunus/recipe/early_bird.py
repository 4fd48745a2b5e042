"""Early-Bird tickets: draw the channels soon, remove the others, and train on what is left.

Source: You et al. 2020, "Drawing early-bird tickets: towards more efficient training of deep networks", section 3 and
algorithm 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prunus.errors import PrunusError
from prunus.laboratory import Drawn, Engine, Ranked, Redrawn, Shrunk, Shuffled, Slimmed, Task, Trained, serial, size
from prunus.progress import Progress, silent
from prunus.recipe.lottery_ticket import check_seeds
from prunus.recipe.tables import Row, keep_table
from prunus.settings import Settings
from prunus.store import Piece, Store, identity
from prunus.structured.slimming import scales
from prunus.ticket.early_bird import EarlyBird


@dataclass(frozen=True)
class Plan:
    """What is decided before a search: the part `density` of all channels is to be kept.

    `strength` is that of the penalty on BatchNorm scales while the ticket is searched, `window` and `threshold` are
    those of `EarlyBird`; the paper's are the defaults. Each of `seeds` draws weights and data order of its own.
    """

    task: Task
    settings: Settings
    density: float = 0.5
    strength: float = 1e-4
    window: int = 5
    threshold: float = 0.1
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        EarlyBird(self.density, window=self.window, threshold=self.threshold)
        if not self.strength >= 0:
            raise PrunusError(f"strength {self.strength} of the penalty is negative.")
        scales(self.task.network())


@dataclass(frozen=True, eq=False)
class Bird:
    """One seed: the run that ends when the ticket is drawn, the same run to its end, and all that is compared."""

    moment: Slimmed
    slimmed: Slimmed
    runs: Mapping[str, Trained]

    def pieces(self) -> Iterator[Piece]:
        """All that has to be trained."""
        yield self.slimmed
        yield from self.runs.values()


def drawn_early(plan: Plan, seed: int) -> Bird:
    """The pieces of one seed: putting them together trains nothing.

    `dense`: the whole network, without a penalty. `early-bird`: the channels drawn early, trained on from that moment
    without a penalty, on the schedule that was begun. `one-shot`: those drawn at the end of the penalised training,
    from the first weights, for all steps. `reinit`: the early channels with weights drawn anew, for all steps.
    `random`: as many of each layer by chance instead of the early ones, trained as they are.
    """
    task, settings = plan.task, plan.settings
    drawn = Drawn(task, seed)
    moment = Slimmed(
        task,
        drawn,
        settings,
        seed,
        strength=plan.strength,
        density=plan.density,
        window=plan.window,
        threshold=plan.threshold,
    )
    slimmed = Slimmed(task, moment, settings, seed, strength=plan.strength)
    early, late = (Ranked(task, trained, plan.density) for trained in (moment, slimmed))
    ticket = Shrunk(task, moment, early)
    starts: dict[str, Piece] = {
        "dense": drawn,
        "early-bird": ticket,
        "one-shot": Shrunk(task, drawn, late),
        "reinit": Redrawn(task, ticket, seed + 1_000_000),
        "random": Shrunk(task, moment, Shuffled(early, seed)),
    }
    runs = {name: Trained(task, start, settings, seed) for name, start in starts.items()}
    return Bird(moment, slimmed, runs)


@dataclass(frozen=True)
class Comparison:
    """What came out: when each seed's ticket was drawn, in epochs (None: never), and the distances until then.

    A row's figures are percent right on test, parameters, multiplications for one input, and those of all training up
    to there, the search included, as a part of the dense network's.
    """

    epochs: tuple[int | None, ...]
    distances: tuple[list[list[float]], ...]
    rows: tuple[Row, ...]


def compare(plan: Plan, store: Store, engine: Engine = serial, progress: Progress = silent) -> Comparison:
    """Draw the tickets of all seeds and train what they are compared with; what `store` holds is not made again."""
    birds = [drawn_early(plan, seed) for seed in plan.seeds]
    engine(store, [piece for bird in birds for piece in bird.pieces()], progress)
    moments = [store.metrics(bird.moment) for bird in birds]
    per_epoch = len(plan.task.read().train) // plan.settings.batch
    epochs = tuple(found["steps"] // per_epoch if found["settled"] else None for found in moments)
    rows = tuple(_row(plan, store, birds, name) for name in birds[0].runs)
    when = ", ".join("never" if epoch is None else str(epoch) for epoch in epochs)
    keep_table(
        store,
        f"Early-Bird tickets: {plan.task.model} on {plan.task.data}",
        f"{100 * plan.density:g} % of the channels, settled after epoch {when}. Means and standard deviations over "
        f"{len(birds)} seeds; training in multiplications, the search included.",
        rows,
    )
    return Comparison(epochs, tuple(found["distances"] for found in moments), rows)


def _row(plan: Plan, store: Store, birds: Sequence[Bird], name: str) -> Row:
    figures: dict[str, list[float]] = {"accuracy": [], "parameters": [], "multiplications": [], "training": []}
    for bird in birds:
        run = bird.runs[name]
        whole = size(plan.task, store.result(bird.moment))
        own = size(plan.task, store.result(run))
        moment, total = store.metrics(bird.moment)["steps"], store.metrics(bird.runs["dense"])["steps"]
        before = {"dense": 0, "one-shot": total}.get(name, moment)  # steps of the whole network
        multiplied = before * whole.multiplications + store.metrics(run)["steps"] * own.multiplications
        figures["accuracy"].append(100 - store.metrics(run)["error"])
        figures["parameters"].append(own.parameters)
        figures["multiplications"].append(own.multiplications)
        figures["training"].append(multiplied / (total * whole.multiplications))
    return Row(
        name,
        {figure: tuple(values) for figure, values in figures.items()},
        tuple(identity(bird.runs[name]) for bird in birds),
    )
