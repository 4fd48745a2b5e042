"""Rewind: everything a training run needs to go on from a point, as copies that share nothing with it."""

import json
import os
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from prunus.errors import FormatError, PrunusError
from prunus.files import sort_metadata, written_whole
from prunus.tree import assign, check_names, detached, parameters, unwrapped

State = Any
"""Tensors, numbers, strings and None, nested in dicts, lists and tuples: what a `state_dict()` returns."""

_DICTIONARIES = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Copies of weights, buffers, optimizer state, step, random state and data order at one moment.

    `order` is whatever the caller needs to take up the data where it stood (seed, epoch, position); `extra`
    holds further `state_dict()`s under names of the caller's choosing (schedule, gradient scaler, hold).
    The three rewinds of the literature are `restore` (weights, optimizer and randomness return to the
    moment), `restore_weights` (they alone do) and `restore_schedule` (all but the weights do: learning rate
    rewinding, Renda et al. 2020).

    >>> layer = nn.Linear(2, 1)
    >>> start = Snapshot.take(layer)
    >>> _ = nn.init.zeros_(layer.weight)
    >>> start.restore(layer)
    >>> torch.equal(layer.weight, start.weights["weight"])
    True
    """

    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]
    optimizer: dict[str, State] | None
    step: int
    random: dict[str, State]
    order: State
    extra: dict[str, State]

    @classmethod
    def take(
        cls,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        *,
        step: int = 0,
        order: State = None,
        extra: Mapping[str, State] = {},
    ) -> Self:
        """Copy the state of `model` and `optimizer` after `step` optimizer steps.

        Raises `PrunusError` naming the first value of the optimizer, `order` or `extra` that a file could
        not hold.
        """
        return cls(
            weights=detached(parameters(model)),
            buffers=detached(_buffers(model)),
            optimizer=None if optimizer is None else copied(optimizer.state_dict(), "optimizer"),
            step=step,
            random=_random_state(),
            order=copied(order, "order"),
            extra=copied(dict(extra), "extra"),
        )

    def restore(self, model: nn.Module, optimizer: Optimizer | None = None) -> None:
        """Write the weights and buffers into `model` in place, and the rest into `optimizer` and torch.

        Gives `PrunusError` where names or shapes differ, before anything is changed.
        """
        self._check(model)
        if optimizer is not None:
            _load(optimizer, self._optimizer_state())
        self.restore_weights(model)
        _set_random_state(self.random)

    def restore_weights(self, model: nn.Module) -> None:
        """Write the weights and buffers into `model` in place; optimizer and randomness go on as they are."""
        self._check(model)
        assign(model, self.weights)
        for name, buffer in _buffers(model).items():
            buffer.copy_(self.buffers[name])

    def restore_schedule(self, optimizer: Optimizer) -> None:
        """Return the optimizer and randomness to the moment; the weights stay as trained since."""
        _load(optimizer, self._optimizer_state())
        _set_random_state(self.random)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one `.safetensors` file, whole or not at all."""
        tensors: dict[str, Tensor] = {}
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        metadata = {"prunus_snapshot": "1", "state": json.dumps(_flattened(fields, "", tensors))}
        with written_whole(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)
            sort_metadata(temporary)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote, onto the CPU; raises `FormatError` for anything else."""
        path = os.fspath(path)
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            if metadata.get("prunus_snapshot") != "1":
                raise FormatError(f"{path} is not a snapshot file of version 1.")
            fields = _rebuilt(json.loads(metadata["state"]), tensors)
            _check_fields(fields)
            snapshot = cls(**fields)
        except FormatError:
            raise
        except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise FormatError(f"{path} is not a snapshot file: {error}.") from error
        if tensors:
            raise FormatError(f"{path}: {next(iter(tensors))} belongs to no part of the snapshot.")
        return snapshot

    def _check(self, model: nn.Module) -> None:
        for own, mine in ((parameters(model), self.weights), (_buffers(model), self.buffers)):
            check_names(mine, own)
            for name, tensor in own.items():
                if tensor.shape != mine[name].shape:
                    raise PrunusError(f"{name}: snapshot {tuple(mine[name].shape)} != model {tuple(tensor.shape)}.")

    def _optimizer_state(self) -> dict[str, State]:
        if self.optimizer is None:
            raise PrunusError("this snapshot was taken without an optimizer, so there is none to restore.")
        return self.optimizer


def copied(state: State, place: str = "state") -> State:
    """A copy of `state` that shares no tensor and no container with it; numpy scalars become Python's.

    Raises `PrunusError` with the place of the first value that is neither tensor, number, string, None nor a
    dict, list or tuple of such.
    """
    if isinstance(state, Tensor):
        return state.detach().clone()
    if type(state) in _DICTIONARIES.values():
        pairs = ((copied(key, place), copied(value, f"{place}.{key}")) for key, value in state.items())
        return type(state)(dict(pairs))
    if type(state) in (list, tuple):
        return type(state)(copied(value, f"{place}.{number}") for number, value in enumerate(state))
    if isinstance(state, np.generic):
        return state.item()
    if state is None or type(state) in (bool, int, float, str):
        return state
    raise PrunusError(f"{place} is a {type(state).__name__}, which a snapshot cannot hold.")


def _flattened(state: State, place: str, tensors: dict[str, Tensor]) -> State:
    """`state` as JSON values; its tensors go into `tensors`, every container but a list names its type."""
    if isinstance(state, Tensor):
        name = f"{len(tensors)}{place}"
        tensors[name] = state.contiguous()
        return {"tensor": name}
    if isinstance(state, dict):
        pairs = [
            [_flattened(key, place, tensors), _flattened(value, f"{place}.{key}", tensors)]
            for key, value in state.items()
        ]
        return {type(state).__name__: pairs}
    if isinstance(state, list | tuple):
        values = [_flattened(value, f"{place}.{number}", tensors) for number, value in enumerate(state)]
        return values if isinstance(state, list) else {"tuple": values}
    return state


def _rebuilt(state: State, tensors: dict[str, Tensor]) -> State:
    """The inverse of `_flattened`; takes each tensor out of `tensors`, so none is shared."""
    if isinstance(state, list):
        return [_rebuilt(value, tensors) for value in state]
    if not isinstance(state, dict):
        return state
    if len(state) != 1:
        raise FormatError(f"a container of a snapshot has one kind, found {sorted(state)[:3]}.")
    ((kind, content),) = state.items()
    if kind == "tensor":
        return tensors.pop(content)
    values = _rebuilt(content, tensors)
    if not isinstance(values, list):
        raise FormatError(f"a {kind} of a snapshot is written as a list, found {type(values).__name__}.")
    if kind == "tuple":
        return tuple(values)
    if kind not in _DICTIONARIES:
        raise FormatError(f"a snapshot cannot hold a {kind}.")
    return _DICTIONARIES[kind](dict(values))


def _check_fields(fields: State) -> None:
    """Raise `FormatError` unless `fields` can stand as a snapshot's."""

    def tensors(value: State) -> bool:
        return type(value) is dict and all(
            type(name) is str and isinstance(tensor, Tensor) for name, tensor in value.items()
        )

    def generators(values: Iterable[State]) -> bool:
        return all(isinstance(value, Tensor) and value.dtype == torch.uint8 for value in values)

    if type(fields) is not dict or fields.keys() != Snapshot.__dataclass_fields__.keys():
        raise FormatError(f"a snapshot has the parts {', '.join(Snapshot.__dataclass_fields__)}.")
    random = fields["random"]
    sound = {
        "weights": tensors(fields["weights"]),
        "buffers": tensors(fields["buffers"]),
        "optimizer": fields["optimizer"] is None
        or (type(fields["optimizer"]) is dict and fields["optimizer"].keys() >= {"state", "param_groups"}),
        "step": type(fields["step"]) is int and fields["step"] >= 0,
        "random": type(random) is dict
        and random.keys() == {"cpu", "cuda"}
        and type(random["cuda"]) is list
        and generators([random["cpu"], *random["cuda"]]),
        "extra": type(fields["extra"]) is dict,
    }
    for name, good in sound.items():
        if not good:
            raise FormatError(f"the {name} of this snapshot is not what a snapshot's {name} should be.")


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    return dict(unwrapped(model).named_buffers())


def _random_state() -> dict[str, State]:
    """The state of torch's own generators: the CPU's, and each CUDA device's once CUDA is in use."""
    cuda = [generator.get_state() for generator in torch.cuda.default_generators]
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict[str, State]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def _load(optimizer: Optimizer, state: dict[str, State]) -> None:
    optimizer.load_state_dict(copied(state))  # which would keep the very tensors it is given
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            same_shape = isinstance(value, Tensor) and value.shape == parameter.shape
            if same_shape and value.stride() != parameter.stride():
                # fused optimizers walk raw memory, so state has to lie as its parameter does
                entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
