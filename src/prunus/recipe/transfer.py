"""One ticket to win them all: found on one data set or with one optimizer, trained on another.

Source: Morcos et al. 2019, "One ticket to win them all: generalizing lottery ticket initializations across datasets
and optimizers", section 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from prunus.errors import PrunusError
from prunus.laboratory import Drawn, Engine, Opened, Shuffled, Task, Trained, Transferred, serial
from prunus.progress import Progress, silent
from prunus.recipe.lottery_ticket import Hunt, Round, search
from prunus.recipe.tables import Row, keep_table
from prunus.settings import Settings
from prunus.store import Piece, Store, identity
from prunus.tree import parameters, weights


@dataclass(frozen=True)
class Plan:
    """What is decided before: a hunt on the `source`, and the `target` whose training, as in `settings`, takes over.

    The output layer, that of the last weights, is drawn anew and whole, unless it is kept (`keep_output`), which needs
    the same classes. The network and the shape of its inputs are those of the source; so are seeds, rounds and parts.
    """

    source: Hunt
    target: Task
    settings: Settings
    keep_output: bool = False

    def __post_init__(self) -> None:
        here, there = self.source.task, self.target
        if self.source.rewind != "weights" or not self.source.rounds:
            raise PrunusError(
                f"a ticket to transfer is found in rounds that rewind weights, found {self.source.rounds} rounds that "
                f"rewind '{self.source.rewind}'."
            )
        if here.model != there.model:
            raise PrunusError(f"a ticket of '{here.model}' does not fit '{there.model}'.")
        before, after = here.read(), there.read()
        if before.input_shape != after.input_shape:
            raise PrunusError(
                f"a ticket for inputs {before.input_shape} of '{here.data}' does not fit those of '{there.data}', "
                f"{after.input_shape}."
            )
        if self.keep_output and before.classes != after.classes:
            raise PrunusError(f"the output layer cannot be kept: '{here.data}' and '{there.data}' have other classes.")

    @property
    def own(self) -> Hunt:
        """The same hunt on the target."""
        return replace(self.source, task=self.target, settings=self.settings)


def transferred(plan: Plan, seed: int) -> Mapping[str, Trained]:
    """The runs of one seed on the target, all for the same steps: putting them together trains nothing.

    `dense`: the whole network. `ticket`: the source's. `own`: the target's, treated alike. `random`: fresh weights, and
    as many kept in each tensor as in the ticket, by chance.
    """
    target, fresh = plan.target, Drawn(plan.target, seed + 1_000_000)
    theirs, own = search(plan.source, seed), search(plan.own, seed)
    renewed = () if plan.keep_output else _output_layer(target)

    def run(start: Piece, mask: Piece) -> Trained:
        return Trained(target, start, plan.settings, seed, mask=mask)

    def carried_over(rounds: Sequence[Round]) -> tuple[Transferred, Opened]:
        last = rounds[-1]
        assert last.mask is not None  # there are rounds
        return Transferred(last.ticket.start, fresh, renewed), Opened(last.mask, fresh, renewed)

    start, mask = carried_over(theirs)
    return {
        "dense": own[0].ticket,
        "ticket": run(start, mask),
        "own": run(*carried_over(own)),
        "random": run(fresh, Shuffled(mask, seed + 1_000_000)),
    }


def transfer(plan: Plan, store: Store, engine: Engine = serial, progress: Progress = silent) -> tuple[Row, ...]:
    """Find the tickets of all seeds and train them on the target; what `store` holds already is not made again.

    A row's figures are percent right on test, and the density of all weights.
    """
    replicates = [transferred(plan, seed) for seed in plan.source.seeds]
    engine(store, [run for runs in replicates for run in runs.values()], progress)
    rows = tuple(
        Row(
            name,
            {
                "accuracy": tuple(100 - store.metrics(runs[name])["error"] for runs in replicates),
                "density": tuple(_density(store, runs[name].mask) for runs in replicates),
            },
            tuple(identity(runs[name]) for runs in replicates),
        )
        for name in replicates[0]
    )
    here, there = (f"{task.data} with {how.optimizer}" for task, how in _both(plan))
    keep_table(
        store,
        f"A ticket from {here} to {there}: {plan.target.model}",
        f"Percent right on the test part of {plan.target.data}, means and standard deviations over "
        f"{len(replicates)} seeds; the output layer is {'kept' if plan.keep_output else 'drawn anew'}.",
        rows,
    )
    return rows


def _both(plan: Plan) -> tuple[tuple[Task, Settings], tuple[Task, Settings]]:
    return (plan.source.task, plan.source.settings), (plan.target, plan.settings)


def _output_layer(task: Task) -> tuple[str, ...]:
    """The names of the parameters of the layer that the last weights belong to."""
    network = task.network()
    layer = list(weights(network))[-1].rpartition(".")[0]
    return tuple(name for name in parameters(network) if name.rpartition(".")[0] == layer)


def _density(store: Store, mask: Piece | None) -> float:
    return float(store.metrics(mask)["density"]) if mask else 1.0
