"""Holding a mask while a model trains: pruned weights are exactly zero after every optimizer step."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from prunus.code.compiled import compiled
from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.tree import Tree, check_names, parameters

# A float times 0.0 may be -0.0 or NaN; its bits, read as an integer, can be cleared, and are then +0.0.
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_IN_NUMPY = {torch.float32, torch.float64, torch.bool}


def hold(optimizer: Optimizer, model: nn.Module, mask: Mask, *, at: Tree | None = None) -> "Hold":
    """Keep the weights that `mask` prunes at exactly +0.0 while `optimizer` trains `model`.

    The mask names parameters of `model` that `optimizer` updates; their gradients are masked as they are
    computed, so clipping, gradient scaling and averaging over processes see the masked ones. Model, its
    `state_dict` and its forward pass stay as they are. Where processes train together, the first one's mask
    counts. Averages of weights (EMA, SWA) are another model: `mask.apply_to` it after an `update`. With `at`,
    pruned weights stay at its values instead of zero: frozen, not removed (Zhou et al. 2019, section 4).

    Raises `PrunusError` where a name or shape of the mask does not fit the model or the optimizer.

    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> with hold(optimizer, model, Mask({"weight": torch.tensor([[True, False]])})) as held:
    ...     model(torch.ones(1, 2)).sum().backward()
    ...     optimizer.step()
    ...     held.verify()
    >>> model.weight[0, 1].item()
    0.0
    """
    return Hold(optimizer, model, mask, at=at)


class Hold:
    """A mask being held, from `hold()` until `release()` or the end of its `with` block."""

    def __init__(self, optimizer: Optimizer, model: nn.Module, mask: Mask, *, at: Tree | None = None) -> None:
        self._optimizer = optimizer
        self._parameters = _held_parameters(optimizer, model, mask)
        self._at = None if at is None else _frozen_values(self._parameters, at)
        self._places = {name: _Places(parameter) for name, parameter in self._parameters.items()}
        self._kept = {name: places.kept for name, places in self._places.items()}
        self._gradient_masks = {name: _GradientMask(name, places) for name, places in self._places.items()}
        self._dense = False
        self.update(mask)
        self._handles = [
            *(_hook(self._parameters[name], function) for name, function in self._gradient_masks.items()),
            optimizer.register_step_post_hook(self._after_step),
        ]

    @property
    def mask(self) -> Mask:
        """A copy of the mask now held."""
        return Mask({name: kept.clone() for name, kept in self._kept.items()})

    @property
    def weights(self) -> Tree:
        """The weights that are held, not copied."""
        return {name: parameter.detach() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self, mask: Mask) -> None:
        """Hold `mask` from now on: of the same names and shapes as before.

        Newly pruned weights become zero, or what they are frozen at; their gradients and all that the optimizer
        remembers of them become zero. Newly kept ones start from there.
        """
        check_names(mask, self._kept)
        for name, kept in mask.items():
            if kept.shape != self._kept[name].shape:
                raise PrunusError(f"{name}: mask {tuple(kept.shape)} != weight {tuple(self._kept[name].shape)}.")
        for name, kept in self._kept.items():
            kept.copy_(mask[name])  # in place: compiled graphs and hooks go on reading the same memory
        broadcast(self._kept.values())
        for places in self._places.values():
            places.refresh()
        self._mask_weights()
        self._mask_gradients()
        self._mask_state()

    @contextmanager
    def dense_gradients(self) -> Iterator[None]:
        """Within the block, gradients of pruned weights are computed too (regrowth needs them).

        They can be read until the block ends, where they are masked; pruned weights stay zero throughout.
        """
        self._set_dense(True)
        try:
            yield
        finally:
            self._set_dense(False)
            self._mask_gradients()

    def verify(self) -> None:
        """Raise `PrunusError` unless every pruned weight (as frozen or zero) and its optimizer state are exact."""
        for name, parameter in self._parameters.items():
            kept = self._kept[name]
            changed = _bits(parameter).ne(0 if self._at is None else _bits(self._at[name]))
            if wrong := int((changed & ~kept).sum()):
                value = "zero" if self._at is None else "as frozen"
                raise PrunusError(f"{name}: {wrong} pruned weights are not {value}.")
            for key, entry in self._state(parameter):
                if wrong := int((entry.ne(0) & ~_any_kept(kept, entry)).sum()):
                    raise PrunusError(f"{name}: the optimizer's {key} is not zero at {wrong} pruned weights.")

    def release(self) -> None:
        """Let the weights train freely again."""
        for handle in self._handles:
            handle.remove()

    def state_dict(self) -> dict[str, Tensor]:
        """The mask now held."""
        return dict(self.mask)

    def load_state_dict(self, state: Tree) -> None:
        """Hold the mask that `state_dict` gave."""
        self.update(Mask(state))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _set_dense(self, dense: bool) -> None:
        self._dense = dense
        for function in self._gradient_masks.values():
            function.active = not dense

    @torch.no_grad()
    def _after_step(self, *_: object) -> None:
        self._mask_weights()
        if self._dense or self._at is not None:  # decay pulls at what is frozen away from zero, and is remembered
            self._mask_state()

    def _mask_weights(self) -> None:
        for name, parameter in self._parameters.items():
            if self._at is None:
                self._places[name].clear(parameter.detach())
            else:
                parameter.detach().copy_(torch.where(self._kept[name], parameter, self._at[name]))

    def _mask_gradients(self) -> None:
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                self._places[name].clear(parameter.grad)

    def _mask_state(self) -> None:
        for name, parameter in self._parameters.items():
            for _, entry in self._state(parameter):
                _bits(entry).mul_(_any_kept(self._kept[name], entry))

    def _state(self, parameter: Tensor) -> Iterator[tuple[str, Tensor]]:
        """What the optimizer remembers of each entry, or of each row or column, of `parameter`.

        Left alone are counts of steps and what is not floating point (quantised moments, whose zero is not
        the number 0); Rprop's step sizes are no memory of a gradient, and are never zero.
        """
        for key, entry in self._optimizer.state.get(parameter, {}).items():
            if (
                isinstance(entry, Tensor)
                and entry.is_floating_point()
                and key != "step_size"
                and entry.ndim == parameter.ndim
                and all(size in (1, whole) for size, whole in zip(entry.shape, parameter.shape, strict=True))
            ):
                yield key, entry


class _GradientMask:
    """Zeroes the pruned entries of a parameter's gradient whenever backward has added to it.

    It refers to no parameter: a cycle through torch's hooks would never be freed.
    """

    def __init__(self, name: str, places: "_Places") -> None:
        self.name, self.places, self.active = name, places, True

    def __call__(self, parameter: Tensor) -> None:
        gradient = parameter.grad
        if gradient is None or not self.active:
            return
        if gradient.is_sparse:
            raise PrunusError(f"{self.name}: a sparse gradient cannot be masked; make it dense (sparse=False).")
        self.places.clear(gradient)


class _Places:
    """Which entries of one weight are kept, and the fastest way to write +0.0 into the others."""

    def __init__(self, parameter: Tensor) -> None:
        # both laid out in memory as the weight is
        self.kept = torch.ones_like(parameter, dtype=torch.bool, requires_grad=False)
        self._ones: Tensor | None = None  # all bits of what is kept, none of what is pruned
        if parameter.is_cpu:
            self._ones = torch.ones_like(parameter, dtype=_INTEGERS[parameter.itemsize], requires_grad=False)

    def refresh(self) -> None:
        """Take in what was written into `kept`."""
        if self._ones is not None:
            self._ones.copy_(self.kept).neg_()

    def clear(self, tensor: Tensor) -> None:
        """Zero the pruned entries of `tensor`."""
        if self._ones is None or not tensor.is_cpu:
            _bits(tensor).mul_(self.kept)
        elif torch.get_num_threads() > 1 or tensor.stride() != self.kept.stride():
            _bits(tensor).bitwise_and_(self._ones)
        else:
            _clear_flat(_flat(tensor), _flat(self.kept))


def _held_parameters(optimizer: Optimizer, model: nn.Module, mask: Mask) -> dict[str, nn.Parameter]:
    own = parameters(model)
    updated = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if missing := [name for name in mask if name not in own]:
        raise PrunusError(f"not in this model: {missing[:3]}.")
    if missing := [name for name in mask if id(own[name]) not in updated]:
        raise PrunusError(f"not in this optimizer: {missing[:3]}.")
    for name in mask:
        if not own[name].is_floating_point():
            raise PrunusError(f"{name}: only floating-point weights can be held, found {own[name].dtype}.")
    return {name: own[name] for name in mask}


def _frozen_values(held: Mapping[str, nn.Parameter], at: Tree) -> dict[str, Tensor]:
    if missing := [name for name in held if name not in at]:
        raise PrunusError(f"no values to freeze at: {missing[:3]}.")
    for name, parameter in held.items():
        if at[name].shape != parameter.shape:
            raise PrunusError(f"{name}: frozen values {tuple(at[name].shape)} != weight {tuple(parameter.shape)}.")
    return {name: at[name].detach().to(parameter).clone() for name, parameter in held.items()}


def _flat(tensor: Tensor) -> np.ndarray:
    """The memory of a tensor without holes on the CPU, in the order in which it lies there."""
    plain = tensor if tensor.dtype in _IN_NUMPY else _bits(tensor)
    if plain.is_contiguous():
        return plain.numpy().reshape(-1)
    return plain.as_strided((plain.numel(),), (1,)).numpy()


@compiled
def _clear_flat(values: np.ndarray, kept: np.ndarray) -> None:
    # on one thread faster than torch's `bitwise_and`, which reads a mask as wide as the weights
    for place in range(values.size):
        if not kept[place]:
            values[place] = 0


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().view(_INTEGERS[tensor.itemsize])


def _any_kept(kept: Tensor, entry: Tensor) -> Tensor:
    """`kept`, reduced to the shape of `entry`: a row or column is kept if any of its entries is."""
    reduced = [axis for axis, size in enumerate(entry.shape) if size != kept.shape[axis]]
    return kept.any(reduced, keepdim=True) if reduced else kept


def _hook(parameter: nn.Parameter, function: Callable[[Tensor], None]) -> Any:
    trained = parameter.requires_grad
    parameter.requires_grad_(True)  # or the hook is refused, and a layer thawed later would escape it
    handle = parameter.register_post_accumulate_grad_hook(function)
    parameter.requires_grad_(trained)
    return handle


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give every process the first one's boolean tensors, where processes train together."""
    tensors = list(tensors)
    if not tensors or not (distributed.is_available() and distributed.is_initialized()):
        return
    flat = torch.cat([tensor.reshape(-1).to(torch.uint8) for tensor in tensors])
    distributed.broadcast(flat, src=0)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))
