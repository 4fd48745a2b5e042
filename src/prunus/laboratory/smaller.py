"""Networks that have really become smaller: channels removed, fresh weights in their sizes, and what they cost."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from prunus.laboratory.task import Task
from prunus.mask import Mask
from prunus.models.start import STARTS
from prunus.modes import mode
from prunus.shrinking import shrink
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece
from prunus.structured.slimming import with_shifts
from prunus.ticket.noise import quiet
from prunus.tree import parameters


@dataclass(frozen=True, eq=False)
class Shrunk:
    """`weights` without the channels whose BatchNorm scales `mask` prunes; trained from there, they stay away.

    Scale and shift of a pruned channel are zeroed, and `shrink` removes what is then constant: channels that an
    addition joins go where all of them are pruned. Step and schedule stay those of `weights`; the optimizer's memory,
    of other sizes, begins anew.
    """

    task: Task
    weights: Piece
    mask: Piece

    def make(self, bench: Bench) -> Outcome:
        """Remove them."""
        start: Snapshot = bench.result(self.weights)
        with quiet():
            model = self.task.network()
            start.restore_weights(model)
            silent = with_shifts(model, bench.result(self.mask))
            smaller = shrink(model, silent, example=self.task.example())
            return Outcome(Snapshot.take(smaller, step=start.step))


@dataclass(frozen=True, eq=False)
class Redrawn:
    """Fresh weights in the sizes of `like`.

    They are drawn as the task says; where that is a network's own way, which knows one size only, as He et al. 2015.
    """

    task: Task
    like: Piece
    seed: int

    def make(self, bench: Bench) -> Outcome:
        """Draw them."""
        with quiet():
            model = self.task.network_like(bench.result(self.like))
            torch.manual_seed(self.seed)
            for module in model.modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
            model.apply(STARTS["he" if self.task.start == "usual" else self.task.start])
            return Outcome(Snapshot.take(model))


@dataclass(frozen=True)
class Size:
    """What a network holds, and the multiplications of its Linear and Conv2d layers for one input."""

    parameters: int
    multiplications: int


def size(task: Task, found: Snapshot, mask: Mask | None = None) -> Size:
    """The size of the network of `task` with the weights `found`, of which only what `mask` keeps counts.

    >>> task = Task.of("lenet-300-100", "digits")
    >>> size(task, Snapshot.take(task.network()))
    Size(parameters=50610, multiplications=50200)
    """
    with quiet():
        model = task.network_like(found)
    kept = {name: parameter.numel() for name, parameter in parameters(model).items()}
    kept |= {name: int(entries.sum()) for name, entries in (mask or {}).items()}
    counted: list[int] = []

    def counting(name: str, module: nn.Module) -> RemovableHandle:
        def count(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            positions = output[0].numel() // len(module.weight)  # type: ignore[arg-type]
            counted.append(positions * kept[f"{name}.weight"])

        return module.register_forward_hook(count)

    handles = [counting(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    with mode(model, training=False), torch.no_grad():
        model(task.example())
    for handle in handles:
        handle.remove()
    return Size(sum(kept.values()), sum(counted))
