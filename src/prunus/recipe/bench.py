"""What zeros pay: speed and size of one network dense, masked, sparse, packed and shrunk, measured side by side."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus import scope as scopes
from prunus.denormals import flushed
from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.mask import Mask
from prunus.progress import Progress, silent
from prunus.pruning import prune
from prunus.recipe import forms
from prunus.recipe.forms import Form
from prunus.scope import Scope
from prunus.score import magnitude
from prunus.sparse import Sparsified, sparsify
from prunus.tree import unwrapped, weights

LEVELS = 32  # values of a tensor that a codebook has
SETTLING = 0.015  # seconds that a form runs before it is timed: until threads that others left spinning are asleep
SAMPLE = 0.005  # seconds that are timed at least, in as many calls as it takes
RATE = 1e-4

Quartiles = tuple[float, float, float]
Call = Callable[[], object]


@dataclass(frozen=True)
class Speed:
    """Seconds of a call, and times the speed of the dense network within the round: quartiles over rounds.

    The dense network's own ratio is to itself, timed a second time: how large the noise is.
    """

    seconds: Quartiles
    ratio: Quartiles


@dataclass(frozen=True)
class Measured:
    """A form of the network, or why there is none.

    `difference` is the largest of an output from that of the plain network with the same weights, in parts of the
    largest output. Of a form that there is not, all but its name and the reason is None.
    """

    name: str
    reason: str = ""
    density: float | None = None
    forward: Speed | None = None
    step: Speed | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    difference: float | None = None


@dataclass(frozen=True)
class Bench:
    """What `bench` measured; `chosen` has, for each column, which layers `sparsify` made sparse and why."""

    forms: tuple[Measured, ...]
    chosen: Mapping[str, Sparsified]
    threads: int

    def winners(self, column: str) -> list[Measured]:
        """The forms faster than dense in "forward" or "step", the fastest first: whose quartiles are above its own."""
        dense, *others = ((getattr(form, column), form) for form in self.forms)
        won = [
            (speed, form) for speed, form in others if speed is not None and speed.ratio[0] > max(1, dense[0].ratio[2])
        ]
        return [form for _, form in sorted(won, key=lambda pair: -pair[0].ratio[1])]


def bench(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor | None = None,
    *,
    density: float | None = None,
    scope: Scope = scopes.erk,
    train: bool = False,
    threads: int | None = None,
    rounds: int = 15,
    seed: int = 0,
    progress: Progress = silent,
) -> Bench:
    """Measure `model`, which is left as it is, in five forms on the batch `inputs` (batch, ...), on the CPU.

    "dense" is the network as it is; "masked" has zeros by magnitude, `density` of the weights kept where `scope` says,
    or the zeros it has; "sparse" is what `sparsify` makes of that; "codebook" shares 32 values a tensor and multiplies
    from packed entries; "shrunk" has whole units taken out, by another mask, until as many weights are left.
    `forward` is a call in evaluation mode without gradients. With `train`, `step` is a training step, of forms that
    train: forwards, backwards from the cross-entropy with `labels` (batch,) or random ones, SGD with momentum, zeros
    held. Forms are timed in rounds, in random order, on `threads` threads; ratios are taken within a round.

    Raises `PrunusError` where the network does not run on `inputs`, has no zeros and no `density`, or where a form
    computes something else than the plain network with its weights.
    """
    model = unwrapped(model)
    if rounds < 2 or (threads is not None and threads < 1):
        raise PrunusError(f"found {rounds} rounds on {threads} threads, expected two rounds and one thread at least.")
    with _threads(threads) as used, flushed(), TemporaryDirectory() as folder:
        outputs = _outputs(model, inputs)
        mask = _mask(model, density, scope)
        order = random.Random(seed)
        made, reasons = _forms(model, mask, inputs, Path(folder), progress)
        differences = {name: _difference(name, form.network, form.plain, inputs) for name, form in made.items()}
        calls = {name: _call(form.network, inputs) for name, form in made.items()}
        forward = _speeds(_race(calls, rounds, order, partial(progress, "forward")))
        step: dict[str, Speed] = {}
        chosen = {"forward": made["sparse"].sparsified} if "sparse" in made else {}
        if train:
            if labels is None:
                generator = torch.Generator().manual_seed(seed)
                labels = torch.randint(outputs.shape[-1], (len(inputs),), generator=generator)
            steps, chosen["step"] = _steps(model, mask, made, inputs, labels)
            step = _speeds(_race(steps, rounds, order, partial(progress, "step")))
    rows = [
        Measured(
            name,
            density=form.density,
            forward=forward[name],
            step=step.get(name),
            memory_bytes=forms.held_bytes(form.network),
            file_bytes=form.file_bytes,
            difference=differences[name],
        )
        for name, form in made.items()
    ]
    absent = [Measured(name, reason) for name, reason in reasons.items()]
    return Bench((*rows, *absent), {name: one for name, one in chosen.items() if one is not None}, used)


def race(networks: Mapping[str, nn.Module], inputs: Tensor, *, rounds: int, seed: int = 0) -> dict[str, Speed]:
    """Time a call without gradients of each of `networks`, in evaluation mode, as `bench` does; one is "dense"."""
    with flushed():
        calls = {name: _call(network.eval(), inputs) for name, network in networks.items()}
        return _speeds(_race(calls, rounds, random.Random(seed), lambda *_: None))


def _mask(model: nn.Module, density: float | None, scope: Scope) -> Mask:
    if not weights(model):
        raise PrunusError(f"{type(model).__name__} has no weights to prune.")
    if density is not None:
        return prune(model, magnitude, density, scope=scope)
    mask = Mask.of_nonzero(model)
    if mask.density == 1:
        raise PrunusError(f"no weight of {type(model).__name__} is zero: say the density to prune it to.")
    return mask


def _forms(
    model: nn.Module, mask: Mask, inputs: Tensor, folder: Path, progress: Progress
) -> tuple[dict[str, Form], dict[str, str]]:
    """The forms that there are, and why there are no others."""
    ways: dict[str, Callable[[], Form]] = {
        "dense": lambda: forms.dense(model, folder),
        "masked": lambda: forms.masked(model, mask, folder),
        "sparse": lambda: forms.sparse(model, mask, inputs, folder),
        "codebook": lambda: forms.codebook(model, mask, LEVELS, folder),
        "shrunk": lambda: forms.shrunk(model, mask.density, inputs, folder),
    }
    made: dict[str, Form] = {}
    reasons: dict[str, str] = {}
    for number, (name, make) in enumerate(ways.items()):
        progress("forms", number, len(ways), name)
        try:
            made[name] = make()
        except PrunusError as error:
            if name not in ("codebook", "shrunk"):
                raise
            reasons[name] = str(error)
    progress("forms", len(ways), len(ways), "")
    return made, reasons


def _steps(
    model: nn.Module, mask: Mask, made: Mapping[str, Form], inputs: Tensor, labels: Tensor
) -> tuple[dict[str, Call], Sparsified]:
    """A training step of each form that trains, and what `sparsify` chose for it."""
    networks = {"dense": deepcopy(model), "masked": deepcopy(model), "sparse": forms.with_zeros(model, mask)}
    if "shrunk" in made:
        networks["shrunk"] = deepcopy(made["shrunk"].network).requires_grad_()
    steps: dict[str, Call] = {}
    for name, network in networks.items():
        optimizer = torch.optim.SGD(network.train().parameters(), lr=RATE, momentum=0.9)
        if name == "masked":
            hold(optimizer, network, mask)
        if name == "sparse":
            chosen = sparsify(network, mask, example=inputs, optimizer=optimizer)
            hold(optimizer, network, chosen.mask)
            _difference(name, network, made["masked"].plain, inputs)
        steps[name] = _step(network.train(), optimizer, inputs, labels)
    return steps, chosen


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> Call:
    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), labels).backward()
        optimizer.step()

    return step


def _call(network: nn.Module, inputs: Tensor) -> Call:
    @torch.no_grad()
    def call() -> None:
        network(inputs)

    return call


def _race(
    calls: Mapping[str, Call], rounds: int, order: random.Random, tell: Callable[..., None]
) -> dict[str, list[float]]:
    """Seconds of each call in each round, and of the dense network "again"."""
    calls = {**calls, "again": calls["dense"]}
    counts = {name: max(1, ceil(SAMPLE / _seconds(call, 1))) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in order.sample(list(calls), len(calls)):
            taken[name].append(_seconds(calls[name], counts[name]))
        tell(number + 1, rounds, "")
    return taken


def _seconds(call: Call, count: int) -> float:
    """The median of `count` calls one after the other."""
    settled = perf_counter() + SETTLING
    while perf_counter() < settled:
        call()
    taken = []
    for _ in range(count):
        start = perf_counter()
        call()
        taken.append(perf_counter() - start)
    return median(taken)


def _speeds(taken: Mapping[str, list[float]]) -> dict[str, Speed]:
    def speed(name: str) -> Speed:
        others = taken["again" if name == "dense" else name]
        ratios = [whole / own for whole, own in zip(taken["dense"], others, strict=True)]
        return Speed(_quartiles(taken[name]), _quartiles(ratios))

    return {name: speed(name) for name in taken if name != "again"}


def _quartiles(values: list[float]) -> Quartiles:
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high


@torch.no_grad()
def _outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    """Logits in evaluation mode."""
    shape = tuple(inputs.shape)
    try:
        outputs = deepcopy(network).eval()(inputs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise PrunusError(f"{type(network).__name__} does not run on inputs {shape}: {reason}.") from error
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise PrunusError(f"{type(network).__name__} gives {found} of inputs {shape}, expected (batch, classes).")
    return outputs


@torch.no_grad()
def _difference(name: str, network: nn.Module, plain: nn.Module, inputs: Tensor) -> float:
    """The largest difference of outputs from those of the plain network, in parts of the largest output."""
    wanted, found = _outputs(plain, inputs), _outputs(network, inputs)
    largest = float(wanted.abs().max())
    difference = float((found - wanted).abs().max()) / max(largest, torch.finfo(wanted.dtype).tiny)
    if not difference <= torch.finfo(wanted.dtype).eps ** 0.5:
        raise PrunusError(f"{name}: outputs differ from those of the plain network by {difference:.3g} of the largest.")
    return difference


@contextmanager
def _threads(count: int | None) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield count or before
    finally:
        torch.set_num_threads(before)
