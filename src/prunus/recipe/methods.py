"""Methods of pruning by name, as a comparison trains them: each a network at one density, its mask, and its checks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil, log

from prunus import parts, score
from prunus.errors import PrunusError, unknown
from prunus.laboratory import (
    Drawn,
    Ended,
    Frozen,
    Gems,
    GraduallyPruned,
    Pruned,
    Reparametrised,
    Rewired,
    Shuffled,
    Supermasked,
    Task,
    Trained,
)
from prunus.laboratory.reparametrised import named
from prunus.laboratory.rewired import REWIRINGS
from prunus.recipe import sanity
from prunus.recipe.lottery_ticket import Hunt, Scene
from prunus.recipe.sanity import AT_START, CHECKS
from prunus.recipe.usual import supermask_settings
from prunus.settings import Settings
from prunus.store import Piece
from prunus.supermask import Start

ROUNDS = 5  # of "-in-rounds"
UPDATES = 20  # of a mask that moves or falls, in all steps; 10 steps apart at least, and 100 at most
FINE_TUNED, IN_ROUNDS = "-fine-tuned", "-in-rounds"


@dataclass(frozen=True, eq=False)
class Entry:
    """A method's network at one density: its last training, its mask, and its sanity checks by name."""

    run: Trained
    mask: Piece
    checks: Mapping[str, Trained] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Place:
    """What is given to every method: one of `densities`, one seed, and the `total` of steps that there are."""

    task: Task
    settings: Settings
    total: int
    densities: tuple[float, ...]
    density: float
    seed: int
    scope: str = "network"
    keep: float = 0.5
    rewind: int = 0

    @property
    def drawn(self) -> Drawn:
        """The weights before training."""
        return Drawn(self.task, self.seed)

    @property
    def fresh(self) -> Drawn:
        """Weights drawn anew, as the sanity checks have them."""
        return Drawn(self.task, self.seed + 1_000_000)

    @property
    def moment(self) -> Piece:
        """What tickets rewind to."""
        return self.trained(self.drawn, until=self.rewind) if self.rewind else self.drawn

    @property
    def half(self) -> Trained:
        """The dense network after half of all steps."""
        return self.trained(self.moment, until=self.total // 2)

    @property
    def dense(self) -> Trained:
        """The dense network."""
        return self.trained(self.half)

    def trained(self, start: Piece, mask: Piece | None = None, until: int | None = None) -> Trained:
        """`start` after the steps that are left, or those before step `until`."""
        return Trained(self.task, start, self.settings, self.seed, mask=mask, until=until)

    def by_chance(self, scope: str, density: float | None = None) -> Pruned:
        """A mask drawn by chance before any training, of `density` or as dense as all methods' masks are."""
        like = None if density else self.carrier(self.density)
        return Pruned(
            self.task,
            self.drawn,
            keep=density or 1.0,
            like=like,
            score="chance",
            scope=scope,
            seed=self.seed,
            allow_empty=True,
        )

    def carrier(self, density: float) -> Pruned:
        """A mask that tells the others, by `Pruned.like`, how much of the whole or of each tensor is to be kept."""
        return self.by_chance(self.scope, density)

    def scene(self, moment: Piece, trained: Trained) -> Scene:
        """The same for the methods of `recipe.sanity`: trained weights, and the `moment` that tickets begin from."""
        hunt = Hunt(self.task, self.settings, 0, scope=self.scope, seeds=(self.seed,))
        return Scene(hunt, self.seed, moment, trained, self.carrier(self.density))

    @property
    def every(self) -> int:
        """Steps between two updates of a mask that moves or falls."""
        return max(10, min(100, self.total // UPDATES))


Method = Callable[[Place], Entry]


def smart_scope(model: str) -> str:
    """The rule of Su et al. 2020 that suits `model`."""
    return "smart_ratio_vgg" if model.startswith("vgg") else "smart_ratio"


def masked(found: sanity.Method, *, at_start: bool = False) -> Method:
    """Train what a method of `recipe.sanity` keeps, from the moment that tickets rewind to, or from the start."""

    def enter(place: Place) -> Entry:
        scene = place.scene(place.drawn if at_start else place.moment, place.dense)
        mask = found(scene)
        return _held(scene, replace(mask, allow_empty=True) if isinstance(mask, Pruned) else mask)

    return enter


def random(scope: Callable[[str], str]) -> Method:
    """Train what chance keeps, shared among tensors by the scope for a model."""
    return lambda place: _held(place.scene(place.drawn, place.dense), place.by_chance(scope(place.task.model)))


def _held(scene: Scene, mask: Piece) -> Entry:
    run, *checks = sanity.checked(replace(scene, mask=mask))
    return Entry(run, mask, dict(zip(CHECKS[1:], checks, strict=True)))


def fine_tuned(name: str) -> Method:
    """Prune by the score `name` after half of all steps, and train what is left for the other half."""

    def enter(place: Place) -> Entry:
        mask = replace(_scored(place, name), allow_empty=True)
        return _tuned(place, mask, place.half)

    return enter


def in_rounds(name: str) -> Method:
    """From half of all steps on, prune by the score `name` in rounds that keep the same part, and train in between."""

    def enter(place: Place) -> Entry:
        left = place.total - place.total // 2
        start, mask = place.half, None
        for number in range(1, ROUNDS + 1):
            goal = place.carrier(place.density ** (number / ROUNDS)) if number < ROUNDS else None
            found = _scored(place, name)
            mask = replace(found, trained=start, like=goal or found.like, within=mask, allow_empty=True)
            if number < ROUNDS:
                start = place.trained(start, mask, until=place.total // 2 + number * left // ROUNDS)
        assert mask is not None
        return _tuned(place, mask, start)

    return enter


def _scored(place: Place, name: str) -> Pruned:
    found = sanity.by(name, trained=True)(place.scene(place.drawn, place.half))
    assert isinstance(found, Pruned)
    return found


def _tuned(place: Place, mask: Pruned, start: Trained) -> Entry:
    """Trained on from `start`; shuffled from the last dense moment, as what is kept then is not what `start` has."""
    checks = {
        "shuffled": place.trained(place.half, Shuffled(mask, place.seed)),
        "re-initialised": place.trained(place.fresh, mask),
        "inverted": place.trained(start, sanity.inverted_of(mask)),
    }
    return Entry(place.trained(start, mask), mask, checks)


def iterative(place: Place) -> Entry:
    """Iterative magnitude pruning with rewinding, through all densities; a round keeps the part `keep` or more."""
    run, mask, alive = place.dense, None, 1.0
    for density in sorted(place.densities, reverse=True):
        if density < place.density:
            break
        rounds = max(1, ceil(log(density / alive) / log(place.keep) - 1e-9))
        for number in range(1, rounds + 1):
            goal = place.carrier(alive * (density / alive) ** (number / rounds) if number < rounds else density)
            mask = Pruned(place.task, run, like=goal, within=mask, scope=place.scope, seed=place.seed, allow_empty=True)
            run = place.trained(place.moment, mask)
        alive = density
    assert mask is not None
    return _held(place.scene(place.moment, place.dense), mask)


def rewired(name: str) -> Method:
    """Sparse from the start, with a mask that moves; Erdos-Renyi-kernel densities."""

    def enter(place: Place) -> Entry:
        first = place.by_chance("erk")
        return _moved(
            place,
            Rewired(place.task, place.drawn, place.settings, place.seed, first, method=name, every=place.every),
        )

    return enter


def gradual(place: Place) -> Entry:
    """Gradual magnitude pruning: the mask falls from the first step to three quarters of all."""
    run = GraduallyPruned(
        place.task,
        place.drawn,
        place.settings,
        place.seed,
        like=place.carrier(place.density),
        every=place.every,
        scope=place.scope,
    )
    inverted = replace(run, like=Ended(run), scope="tensor", score="small_final")
    return _moved(place, run, checks={"inverted": inverted})


def over_training(name: str) -> Method:
    """By a method of `laboratory.reparametrised` until three quarters of all steps; what it keeps has the last quarter.

    Network surgery starts from the dense network at half of all steps, others from the start.
    """

    def enter(place: Place) -> Entry:
        rows = len(place.task.read().train)
        method = named(name, density=place.density, settings=place.settings, rows=rows)
        start = place.half if name == "surgery" else place.drawn
        decided = 3 * place.total // 4
        pruned = Reparametrised(place.task, start, place.settings, place.seed, method, place.density, until=decided)
        mask = Ended(pruned)
        return _moved(place, place.trained(pruned, mask), mask)

    return enter


def _moved(place: Place, run: Trained, mask: Ended | None = None, checks: Mapping[str, Trained] | None = None) -> Entry:
    """A training that ends with a mask of its own, or on the way with `mask`, which is checked from the start."""
    mask = mask or Ended(run)
    ended = {
        "shuffled": place.trained(place.drawn, Shuffled(mask, place.seed)),
        "re-initialised": place.trained(place.fresh, mask),
    }
    return Entry(run, mask, {**ended, **(checks or {})})


def gem_miner(place: Place) -> Entry:
    """A Rare Gem: half of all steps learn a mask over weights that do not move, the other half train what it keeps."""
    half, epoch = place.total // 2, len(place.task.read().train) // place.settings.batch
    if half < epoch:
        raise PrunusError(
            f"gem-miner takes an epoch, {epoch} steps, to find its mask, and half of all steps are {half}."
        )
    tuned = replace(place.settings, epochs=None, steps=place.total - half)

    def trained(seed: int, change: Callable[[Piece], Piece] = lambda mask: mask) -> Trained:
        weights = Frozen(place.task, Start(seed=seed))
        return Trained(place.task, weights, tuned, place.seed, mask=change(mask))

    usual = supermask_settings(place.task.model, "gem-miner")
    mask = Supermasked(
        place.task,
        Gems(place.density),
        Start(seed=place.seed),
        replace(usual, epochs=None, steps=half, batch=place.settings.batch, precision=place.settings.precision),
        place.seed,
    )
    checks = {
        "shuffled": trained(place.seed, lambda found: Shuffled(found, place.seed)),
        "re-initialised": trained(place.seed + 1_000_000),
    }
    return Entry(trained(place.seed), mask, checks)


def _at_start(name: str, rounds: int = 1) -> Method:
    return masked(sanity.by(name, trained=False, rounds=rounds), at_start=True)


RANDOM = "smart-ratio"
OVER_TRAINING = ("dpf", "surgery", "movement-pruning", "soft-movement", "soft-threshold", "variational-dropout", "l0")

METHODS: dict[str, Method] = {
    RANDOM: random(smart_scope),
    "static": random(lambda model: "erk"),
    "chance": _at_start("chance"),
    "magnitude-at-start": _at_start("magnitude"),
    "snip": _at_start("taylor"),
    "snip-iterated": _at_start("taylor", rounds=100),
    "grasp": _at_start("grasp"),
    "synflow": _at_start("synflow", rounds=100),
    **{name: rewired(name) for name in REWIRINGS},
    "gem-miner": gem_miner,
    "gradual": gradual,
    **{name: over_training(name) for name in OVER_TRAINING},
    "magnitude-fine-tuned": fine_tuned("magnitude"),
    "magnitude-in-rounds": in_rounds("magnitude"),
    "magnitude": masked(sanity.by("magnitude", trained=True)),
    "iterative": iterative,
}
"""What a comparison knows by name; any score has more, see `method_named`.

`smart-ratio` and `static` are chance, with the densities of Su et al. 2020 and of Evci et al. 2020.
"""


def method_named(text: str) -> Method:
    """A name in `METHODS`, or a score, of `prunus.score` or as `file.py:function`, that looks at the trained network.

    What it keeps is rewound and trained anew. With "-at-start", it looks at the weights before training, with
    "-fine-tuned" at half of all steps, with "-in-rounds" from there on again and again: and training goes on.

    >>> method_named("magnitud-fine-tuned")
    Traceback (most recent call last):
    prunus.errors.PrunusError: unknown score 'magnitud', did you mean 'magnitude'? Valid: chance, ...
    """
    if text in METHODS:
        return METHODS[text]
    ways: dict[str, Callable[[str], Method]] = {AT_START: _at_start, FINE_TUNED: fine_tuned, IN_ROUNDS: in_rounds}
    for suffix, way in ways.items():
        if text.endswith(suffix):
            name = text.removesuffix(suffix)
            parts.score_named(name)
            return way(name)
    if ":" not in text and text not in score.__all__:
        raise unknown("method", text, METHODS)
    return masked(sanity.by(text, trained=True))
