"""Sparse from the start to the end of training: the mask moves, its density stays.

A training begins with a random mask, as by `prune(model, score.chance, density, scope=scope.erk, generator=...)`, and
a `hold` of it: that alone is static sparse training. A `Rewiring`, called after every step, drops the kept entries that
are worth least and grows as many others.
"""

import hashlib
from contextlib import ExitStack
from inspect import signature
from math import cos, floor, pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from prunus.errors import PrunusError
from prunus.holding import Hold
from prunus.mask import Mask
from prunus.pruning import Score, scored
from prunus.ranking import keep_largest
from prunus.scope import apportioned
from prunus.score import chance, gradient, magnitude, momentum
from prunus.sparse import SparseHold
from prunus.sparse.swapping import opened
from prunus.tree import Tree, parameters, zipped


def rigl(
    held: Hold | SparseHold,
    optimizer: Optimizer,
    model: nn.Module,
    *,
    end: int,
    every: int = 100,
    fraction: float = 0.3,
    replaces_step: bool = True,
    begin: int = 0,
) -> "Rewiring":
    """RigL: what is smallest goes, and weights come where the gradient of all weights is largest.

    Idea: a pruned weight whose gradient is large would lower the loss at once, so that is where to grow.
    Formula: every `every` steps before `end`, of its k kept weights each tensor drops the floor(f k) smallest, with
    f = `fraction` / 2 (1 + cos(pi t / `end`)), and grows as many where |dL/dw| of the batch at hand is largest, pruned
    weights included; new ones begin at zero (see `Rewiring`).
    Source: Evci et al. 2020, "Rigging the lottery: making all tickets winners", algorithm 1.
    Use: a network that is to be trained at a tenth of its weights or fewer, from the first step on, with `scope.erk`.
    Cost: a sparse training, and one dense gradient each `every` steps; with `hold_sparse` no more than that.
    Differs: its authors add a little noise to |w| before they drop; here equal ones go by highest index. They may also
    update at the first step and at `end`. At an update there is no gradient step, as in the paper, unless
    `replaces_step` is false.
    """
    return Rewiring(
        held, optimizer, model, end=end, every=every, fraction=fraction, replaces_step=replaces_step, begin=begin
    )


def evolutionary(
    held: Hold | SparseHold,
    optimizer: Optimizer,
    model: nn.Module,
    *,
    end: int,
    every: int = 100,
    fraction: float = 0.3,
    begin: int = 0,
    seed: int = 0,
) -> "Rewiring":
    """SET, sparse evolutionary training: what is smallest goes, and weights come at random.

    Idea: a random graph of connections, of which the weak are replaced by chance again and again, finds good places.
    Formula: as `rigl`, but that new weights come uniformly among the places that are free.
    Source: Mocanu et al. 2018, "Scalable training of artificial neural networks with adaptive sparse connectivity
    inspired by network science".
    Use: where no dense gradient can be had; else as the control of RigL, with `scope.er` or `scope.erk`.
    Cost: a sparse training; with `hold_sparse` no step is dense.
    Differs: its authors rewire after every epoch, always the same fraction, and drop the smallest positive and the
    largest negative weights apart; here both are dropped by |w|, and the fraction falls, as in RigL's comparisons.
    """
    return Rewiring(
        held, optimizer, model, end=end, every=every, fraction=fraction, grow=chance, begin=begin, seed=seed
    )


def sparse_momentum(
    held: Hold | SparseHold,
    optimizer: Optimizer,
    model: nn.Module,
    *,
    end: int,
    every: int = 100,
    fraction: float = 0.5,
    decay: float = 0.9,
    begin: int = 0,
) -> "Rewiring":
    """SNFS, sparse networks from scratch: weights come where the mean gradient of late is largest, layers compete.

    Idea: a mean over steps tells better than one batch where to grow, and also which layers deserve more weights.
    Formula: as `rigl`, but that new weights come where |m| is largest, m = `decay` m + (1 - `decay`) dL/dw at every
    step, and what all tensors drop is shared among them as the means of |m| over their kept weights.
    Source: Dettmers & Zettlemoyer 2019, "Sparse networks from scratch: faster training without losing performance".
    Use: as RigL, where a dense gradient at every step can be paid for.
    Cost: a dense gradient at every step, so that `hold_sparse` gains nothing before `end`, and as much memory as the
    weights take.
    Differs: its authors take the optimizer's own momentum (of Adam, divided by the root of the second moment), drop
    less in nearly dense layers, and meet the density only about; here it is exact.
    """
    return Rewiring(
        held,
        optimizer,
        model,
        end=end,
        every=every,
        fraction=fraction,
        grow=momentum,
        redistribute=True,
        decay=decay,
        begin=begin,
    )


class Rewiring:
    """Moves the mask that `held` holds while `optimizer` trains `model`: call it after every optimizer step.

    At each step t that is a multiple of `every`, before `end`, each tensor drops floor(f(t) k) of its k kept entries,
    f(t) = `fraction` / 2 (1 + cos(pi t / `end`)), those that score least in `drop`. As many grow: the best in `grow`
    of all that are not kept then. What was just dropped is among them, as its authors have it, and if it grows again it
    goes on as it was; others begin at zero, and so does what the optimizer remembers of them. With `redistribute`, what
    all tensors drop is shared among them as the means of the `grow` scores of what they kept, as far as there is room.

    Both scores may ask for `gradients` (of all weights, at this step), `momenta` (their running means, by `decay`) or a
    `generator` (seeded by `seed` and the step). With `replaces_step`, the optimizer takes no step at an update: its
    gradients only tell where to grow. A step that a gradient scaler skips is no update. Processes that train together
    decide alike: gradients are averaged before, draws are seeded, and the first one's mask counts. `begin` is the
    number of steps taken before. Its state may be part of a checkpoint, behind that of `held`.

    Where `held` is by `hold_sparse`, masks and weights are those under `hold`, up to the order of additions; layers are
    dense at steps of which gradients of all weights are asked: updates, or with `momenta` all before `end`.

    Raises `PrunusError` when it is not called after every step, and for sparse layers inside `DistributedDataParallel`.

    >>> from prunus.holding import hold
    >>> model = nn.Linear(4, 1)
    >>> _ = model.weight.data.copy_(torch.tensor([[2.0, 1.0, 0.0, 0.0]]))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with hold(optimizer, model, Mask({"weight": torch.tensor([[True, True, False, False]])})) as held:
    ...     rewire = Rewiring(held, optimizer, model, every=1, end=10, fraction=0.6)
    ...     (model(torch.tensor([[0.0, 0.0, 0.0, 1.0]])) - 9).square().sum().backward()
    ...     optimizer.step()
    ...     rewire(1)
    >>> held.mask["weight"].tolist(), model.weight.tolist()
    ([[True, False, False, True]], [[2.0, 0.0, 0.0, 0.0]])
    """

    def __init__(
        self,
        held: Hold | SparseHold,
        optimizer: Optimizer,
        model: nn.Module,
        *,
        end: int,
        every: int = 100,
        fraction: float = 0.3,
        drop: Score = magnitude,
        grow: Score = gradient,
        redistribute: bool = False,
        replaces_step: bool = False,
        decay: float = 0.9,
        begin: int = 0,
        seed: int = 0,
    ) -> None:
        if every < 1:
            raise PrunusError(f"a mask is rewired every step or more seldom, found every {every}.")
        if not 0 <= fraction <= 1:
            raise PrunusError(f"the fraction to drop is from 0 to 1, found {fraction}.")
        if not 0 <= decay < 1:
            raise PrunusError(f"the decay of momenta is from 0 to below 1, found {decay}.")
        self.held, self.end, self.every, self.fraction, self.seed = held, end, every, fraction, seed
        self.drop, self.grow, self.redistribute, self.replaces_step = drop, grow, redistribute, replaces_step
        self.decay = decay
        self._needs = signature(drop).parameters.keys() | signature(grow).parameters.keys()
        self._model = opened(model) if isinstance(held, SparseHold) else model
        self._optimizer, self._names = optimizer, tuple(held.mask)
        self._step = begin
        self._gradients: dict[str, Tensor] | None = None
        self._momenta: dict[str, Tensor] = {}
        self._dense, self._listening = ExitStack(), False
        self._hook = optimizer.register_step_pre_hook(self._before_step)
        self._listen()

    def __call__(self, step: int) -> None:
        """Take notice that step `step` (from 1) was taken, and rewire if it is time."""
        if step != self._step + 1:
            raise PrunusError(f"rewiring is told every step: after {self._step} comes {self._step + 1}, found {step}.")
        self._step = step
        if self._is_update(step):
            self._update(step)
        self._gradients = None
        self._listen()

    def release(self) -> None:
        """Let the mask stay as it is."""
        self._dense.close()
        self._hook.remove()

    def state_dict(self) -> dict[str, Any]:
        """What was decided before, the step, and the momenta."""
        decided = [self.every, self.end, self.fraction, self.decay, self.replaces_step, self.redistribute, self.seed]
        return {"decided": decided, "step": self._step, "momenta": dict(self._momenta)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where `state_dict` was asked."""
        self._step = state["step"]
        weights = self.held.weights
        self._momenta = {name: m.to(weights[name].device) for name, m in state["momenta"].items()}
        self._listen()

    def _is_update(self, step: int) -> bool:
        return step < self.end and step % self.every == 0

    def _listen(self) -> None:
        """Ask for dense gradients of the coming step, if they are needed."""
        if "momenta" in self._needs:
            wanted = self._step + 1 < self.end
        else:
            wanted = "gradients" in self._needs and self._is_update(self._step + 1)
        if wanted and not self._listening:
            self._dense.enter_context(self.held.dense_gradients())
        elif not wanted:
            self._dense.close()
        self._listening = wanted

    @torch.no_grad()
    def _before_step(self, *_: object) -> None:
        """Note the gradients, complete by now; the optimizer is left without them where an update replaces its step."""
        coming = self._step + 1
        if coming >= self.end:
            return
        if self._listening:
            own = parameters(self._model)
            self._gradients = {
                name: torch.zeros_like(own[name]) if (found := own[name].grad) is None else found
                for name in self._names
            }
        if "momenta" in self._needs:
            for name, found in (self._gradients or {}).items():
                self._momenta.setdefault(name, torch.zeros_like(found)).lerp_(found, 1 - self.decay)
        if self.replaces_step and self._is_update(coming):
            self._optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _update(self, step: int) -> None:
        if self._gradients is None and self._needs & {"gradients", "momenta"}:
            return
        values = self.held.weights
        evidence = {
            "gradients": self._gradients,
            "momenta": self._momenta,
            "generator": _generator(self.seed, step),
        }
        fraction = self.fraction / 2 * (1 + cos(pi * step / self.end))
        drop, grow = scored(self.drop, values, evidence), scored(self.grow, values, evidence)
        self.held.update(rewired(self.held.mask, drop, grow, fraction, redistribute=self.redistribute))


def rewired(mask: Mask, drop: Tree, grow: Tree, fraction: float, *, redistribute: bool = False) -> Mask:
    """The mask after one update: the part `fraction` of each tensor's kept entries goes, as many others come.

    Scores `drop` and `grow` have the mask's names and shapes; see `Rewiring`. The density stays exactly.

    >>> mask = Mask({"weight": torch.tensor([[True, True, False, False]])})
    >>> drop, grow = {"weight": torch.tensor([[3.0, 1.0, 0.0, 0.0]])}, {"weight": torch.tensor([[9.0, 0.0, 1.0, 2.0]])}
    >>> rewired(mask, drop, grow, 0.5)["weight"].tolist()
    [[True, False, False, True]]
    """
    kept = {name: int(one.sum()) for name, one in mask.items()}
    dropped = {name: floor(fraction * count) for name, count in kept.items()}
    left = {n: _best(drop[n], among, kept[n] - dropped[n]) for n, among in mask.items()}
    if redistribute:
        dropped = _shared(mask, grow, left, sum(dropped.values()))
    return Mask({name: one | _best(grow[name], ~one, dropped[name]) for name, one in left.items()})


def _best(score: Tensor, among: Tensor, count: int) -> Tensor:
    """True at the `count` entries that score best `among` some."""
    worth = score if score.is_floating_point() else score.double()
    worth = torch.where(among, worth.clamp(min=torch.finfo(worth.dtype).min), -torch.inf)
    return keep_largest([worth], count)[0]


def _shared(mask: Mask, grow: Tree, left: Tree, total: int) -> dict[str, int]:
    """How many of `total` grow in each tensor: as the means over what is kept, as far as there is room."""
    room = {name: int((~one).sum()) for name, one in left.items()}
    worth = {
        name: float(score[kept].double().clamp(min=0).mean()) if kept.any() else 0.0
        for name, (kept, score) in zipped(mask, grow)
    }
    return apportioned(total, worth if any(worth.values()) else room, room)


def _generator(seed: int, step: int) -> torch.Generator:
    digest = hashlib.sha256(f"rewiring {seed} {step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
