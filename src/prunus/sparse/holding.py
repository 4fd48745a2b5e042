"""Holding a mask with layers that become sparse as it falls."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from prunus import kernel
from prunus.holding import broadcast, hold
from prunus.mask import Mask
from prunus.sparse.handover import hand_over
from prunus.sparse.network import sparsify
from prunus.sparse.swapping import densify, opened, replace, swappable
from prunus.tree import Tree, parameters, zipped

SPARE = 0.9  # of the entries that layers were made for: with fewer, making them anew pays
HALF = 0.5  # of the entries at the last measurement: with fewer, measuring again pays


def hold_sparse(
    optimizer: Optimizer, model: nn.Module, mask: Mask, *, example: Tensor | None = None, below: float = 1.0
) -> "SparseHold":
    """As `prunus.hold`, with layers swapped for sparse ones as soon as they are sparse enough, until it is released.

    Which ones is decided as by `prunus.sparsify`: by `below`, and with `example`, a batch of inputs, by measuring, once
    whenever the mask has fallen to half. Weights and what the optimizer remembers of them are those of the network
    under `hold`, up to the order of additions. Parameters of sparse layers are others after an `update`, so look them
    up each time (`model.parameters()`). While gradients of pruned weights are asked for, layers are dense. At the end,
    or after `release()`, the network has its own layers and parameters again, with exact zeros.

    Raises `PrunusError` as `hold` does, and for a network inside `DistributedDataParallel`.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(4, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> with hold_sparse(optimizer, model, Mask.dense(model), below=0.5) as held:
    ...     held.update(Mask({"0.weight": torch.eye(2, 4).bool()}))
    ...     model(torch.ones(1, 4)).sum().backward()
    ...     optimizer.step()
    ...     print(model[0])
    SparseLinear((2, 4), density=0.25, bias=True)
    >>> model[0].weight.count_nonzero().item()
    2
    """
    return SparseHold(optimizer, model, mask, example=example, below=below)


class SparseHold:
    """A mask being held, from `hold_sparse()` until `release()` or the end of its `with` block."""

    def __init__(
        self, optimizer: Optimizer, model: nn.Module, mask: Mask, *, example: Tensor | None = None, below: float = 1.0
    ) -> None:
        self._optimizer, self._model = optimizer, opened(model)
        self._example, self._below = example, below
        densify(model, optimizer=optimizer)
        self._held = hold(optimizer, model, mask)
        self._mask = self._held.mask
        self._own = {name: self._layer(name) for name in swappable(self._model, mask)[0]}
        self._measured = self._mask.total  # how many entries there were when layers were measured
        self._sparse: tuple[str, ...] = ()
        self._dense = False  # for a while: `_sparse` and `_made` tell what there is again afterwards
        self._make()
        self._hold()

    @property
    def mask(self) -> Mask:
        """A copy of the mask now held."""
        return Mask({name: kept.clone() for name, kept in self._mask.items()})

    @property
    def weights(self) -> Tree:
        """The weights that are held, with zeros where they are pruned."""
        own = parameters(self._model)
        layers = {} if self._dense else {f"{layer}.weight": layer for layer in self._sparse}
        return {n: self._layer(layers[n]).weight().detach() if n in layers else own[n].detach() for n in self._mask}

    def update(self, mask: Mask) -> None:
        """Hold `mask` from now on, as `Hold.update`.

        Sparse layers are made anew once a tenth of what they have is pruned, or something that they lack is kept. Until
        then pruned values are held at zero.
        """
        self._mask = self._fitting(mask)
        broadcast(self._mask.values())
        if not self._dense and self._is_outdated():
            self._make()
        self._hold()

    @contextmanager
    def dense_gradients(self) -> Iterator[None]:
        """As `Hold.dense_gradients`, by layers that are dense until the block ends: its steps cost what dense ones do.

        Parameters are others within the block than before and after it. A mask that is updated within it becomes
        that of sparse layers at its end.
        """
        self._held.release()
        densify(self._model, optimizer=self._optimizer)
        self._held = hold(self._optimizer, self._model, self._mask)
        self._dense = True
        try:
            with self._held.dense_gradients():
                yield
        finally:
            if self._dense:  # and not released by now
                self._dense = False
                self._swap_back()

    def verify(self) -> None:
        """Raise `PrunusError` unless every pruned weight and its optimizer state are exactly zero."""
        self._held.verify()

    @torch.no_grad()
    def release(self) -> None:
        """Let the weights of the network, which has its own layers again, train freely."""
        self._dense = False
        self._held.release()
        densify(self._model, optimizer=self._optimizer)
        for name, own in self._own.items():
            if (made := self._layer(name)) is not own:
                own.weight.grad = None
                own.weight.copy_(made.weight).requires_grad_(made.weight.requires_grad)
                hand_over(self._optimizer, made.weight, own.weight, partial(_laid_out, like=own.weight))
                replace(self._model, name, own.train(made.training))

    def state_dict(self) -> dict[str, Any]:
        """The mask now held, and of which layers the network is made, with what was kept when they were."""
        return {
            "mask": dict(self.mask),
            "made": {name: kept.clone() for name, kept in self._made.items()},
            "sparse": list(self._sparse),
            "measured": self._measured,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the network of the same layers, whatever is faster here, and hold the same mask.

        The network's own state, and the optimizer's, fit afterwards.
        """
        self._made, self._sparse = self._fitting(state["made"]), tuple(state["sparse"])
        self._mask, self._measured = self._fitting(state["mask"]), state["measured"]
        if self._dense:
            self._hold()
        else:
            self._swap_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _fitting(self, mask: Tree) -> Mask:
        """A copy of `mask`; `PrunusError` for other names or shapes."""
        return Mask({name: kept.to(old.device, copy=True) for name, (old, kept) in zipped(self._mask, mask)})

    def _is_outdated(self) -> bool:
        regrown = any(bool((self._mask[name] & ~self._made[name]).any()) for name in self._names())
        return regrown or self._mask.kept <= SPARE * self._made.kept

    def _make(self) -> None:
        """Swap those layers that are to be sparse now for layers of what the mask keeps."""
        example, names = None, list(self._mask)
        if self._example is not None:
            if self._mask.kept <= HALF * self._measured:
                example, self._measured = self._example, self._mask.kept
            else:
                names = self._names()
        self._made = self._mask
        self._swap(names, example)

    def _swap(self, names: list[str], example: Tensor | None = None) -> None:
        """Swap layers of these weights for layers of what they were made for."""
        self._held.release()
        densify(self._model, optimizer=self._optimizer)
        part = Mask({name: self._made[name] for name in names})
        found = sparsify(self._model, part, example=example, below=self._below, optimizer=self._optimizer)
        self._sparse = found.sparse

    def _swap_back(self) -> None:
        """Swap the layers that were sparse for such layers again."""
        if self._is_outdated():
            self._make()
        else:
            self._swap(self._names())
        self._hold()

    def _names(self) -> list[str]:
        return [f"{layer}.weight" for layer in self._sparse]

    def _hold(self) -> None:
        """Hold what the mask prunes of the parameters that there are."""
        if self._dense:
            self._held.update(self._mask)
            return
        self._held.release()
        pruned: dict[str, Tensor] = {}
        for name, kept in self._mask.items():
            layer = name.removesuffix(".weight")
            if layer not in self._sparse:
                pruned[name] = kept
            elif not (left := kernel.gathered(kept, self._layer(layer).connections)).all():
                pruned[f"{layer}.values"] = left
        self._held = hold(self._optimizer, self._model, Mask(pruned))

    def _layer(self, name: str) -> Any:
        return self._model.get_submodule(name)


def _laid_out(entries: Tensor, like: Tensor) -> Tensor:
    """`entries` in memory as `like` is, which fused optimizers count on."""
    return torch.empty_like(like, dtype=entries.dtype).copy_(entries)
