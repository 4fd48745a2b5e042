"""What methods that prune or quantise while training share: weights that are a function of what is trained."""

from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.modes import mode
from prunus.ranking import keep_largest
from prunus.scope import count
from prunus.settings import Settings, make_optimizer
from prunus.tree import parameters, unwrapped, weights


class Layer(nn.Module):
    """What stands between a trained weight and the one that the network computes with.

    `forward(weight)` gives the latter; in evaluation it is what will be left of the weight in the end.
    """

    def kept(self, weight: Tensor) -> Tensor:
        """Which entries are not zero in the end, as bool."""
        raise NotImplementedError

    def worth(self, weight: Tensor) -> Tensor:
        """What entries are worth where fewer have to be kept than the method would."""
        return weight.abs()

    def penalty(self, weight: Tensor) -> Tensor | None:
        """What is added to the loss, if anything."""
        return None

    def attach(self, module: nn.Module) -> None:
        """Do what a weight alone cannot do to the module that it is of."""


class Method(Protocol):
    """How weights are reparametrised: a frozen dataclass of plain values, which tell it from all others."""

    @property
    def kind(self) -> str:
        """Its name, for a person to read."""
        ...

    @property
    def rate(self) -> float:
        """The learning rate of what the method adds, as a multiple of that of the weights."""
        ...

    @property
    def warm_up(self) -> int:
        """The steps in which the penalty rises linearly to its full size."""
        ...

    def layer(self, name: str, weight: Tensor) -> Layer:
        """What the weight of this name goes through."""
        ...

    def after_step(self, layers: Mapping[str, Any], trained: Mapping[str, Tensor], step: int) -> None:
        """What is to be done after optimizer step `step` (from 1) with the layers and the trained weights, by name."""
        ...


class Reparametrisation:
    """A copy of `model` whose prunable weights, but those named in `left`, go through the layers of `method`.

    `model` is left as it is. Train `network` with `optimizer(settings)`, add `penalty()` to the loss, call `after_step`
    after every step, then `bake` the plain weights into `model`: nothing of the method is left in it but zeros. All
    that the method remembers is in the `state_dict` of `network`, but the step, which is in this one's. Raises
    `PrunusError` for tied weights, and where `left` names no prunable weight.

    >>> from prunus.reparametrised import SoftThreshold
    >>> model = nn.Linear(2, 1)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.6, -0.4]]))
    >>> soft = Reparametrisation(model, SoftThreshold(start=0.0))  # the threshold is sigmoid(0)
    >>> soft.bake(model).density
    0.5
    >>> model.weight.tolist()  # doctest: +ELLIPSIS
    [[0.1..., 0.0]]
    """

    def __init__(self, model: nn.Module, method: Method, *, left: Collection[str] = ()) -> None:
        self.method = method
        self.network = deepcopy(unwrapped(model))
        names = [name for name, _ in self.network.named_parameters(remove_duplicate=False)]
        if tied := set(names) - {name for name, _ in self.network.named_parameters()}:
            raise PrunusError(f"{min(tied)} is tied to another weight, and each place has a layer of its own.")
        prunable = weights(self.network)
        if unknown := sorted(set(left) - prunable.keys()):
            raise PrunusError(f"no prunable weight of this model: {', '.join(unknown[:3])}.")
        self.trained = {name: weight for name, weight in prunable.items() if name not in left}
        self.layers = {name: method.layer(name, weight.detach()) for name, weight in self.trained.items()}
        for name, layer in self.layers.items():
            owner, _, attribute = name.rpartition(".")
            module = self.network.get_submodule(owner)
            layer.attach(module)
            layer.train(module.training)
            parametrize.register_parametrization(module, attribute, layer, unsafe=True)
        self._step = 0

    def optimizer(self, settings: Settings) -> Optimizer:
        """The optimizer that `settings` name; what the method adds has its own rate and no weight decay."""
        added = [parameter for layer in self.layers.values() for parameter in layer.parameters()]
        own = {id(parameter) for parameter in added}
        rest = {name: one for name, one in self.network.named_parameters() if id(one) not in own}
        optimizer = make_optimizer(rest, settings)
        if added:
            rate = settings.learning_rate * self.method.rate
            optimizer.add_param_group({"params": added, "lr": rate, "weight_decay": 0.0})
        return optimizer

    def penalty(self) -> Tensor | None:
        """What is to be added to the loss, if anything."""
        found = [self.layers[name].penalty(weight) for name, weight in self.trained.items()]
        terms = [term for term in found if term is not None]
        if not terms:
            return None
        warmth = min(1.0, self._step / self.method.warm_up) if self.method.warm_up else 1.0
        return warmth * torch.stack(terms).sum()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """To be called after each optimizer step, numbered from 1."""
        self.method.after_step(self.layers, self.trained, step)
        self._step = step

    @torch.no_grad()
    def mask(self, density: float = 1.0) -> Mask:
        """What the method keeps; of that, if it is more than `density`, what is worth most."""
        kept = {name: layer.kept(self.trained[name]) for name, layer in self.layers.items()}
        most = count(density, sum(weight.numel() for weight in self.trained.values()))
        if sum(int(one.sum()) for one in kept.values()) > most:
            worth = {name: layer.worth(self.trained[name]) for name, layer in self.layers.items()}
            best = keep_largest([torch.where(one, worth[name], -torch.inf) for name, one in kept.items()], most)
            kept = dict(zip(kept, best, strict=True))
        return Mask(kept)

    @torch.no_grad()
    def bake(self, model: nn.Module, density: float = 1.0) -> Mask:
        """Make `model`, the one that this began with, the plain network that evaluation sees, with exact zeros.

        The mask is `mask(density)`. Other parameters and buffers are copied.
        """
        mask = self.mask(density)
        with mode(self.network, training=False):
            found = {name: layer(self.trained[name]) for name, layer in self.layers.items()}
        others = dict(self.network.named_parameters())
        for name, parameter in parameters(model).items():
            parameter.copy_(torch.where(mask[name], found[name], 0) if name in found else others[name])
        learned = dict(self.network.named_buffers())
        for name, buffer in unwrapped(model).named_buffers():
            buffer.copy_(learned[name])
        return mask

    def state_dict(self) -> dict[str, Any]:
        """The step, and what was decided before: a checkpoint of other decisions is not taken for one of these."""
        return {"step": self._step, "method": str(asdict(self.method))}  # type: ignore[call-overload]

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take the step back."""
        self._step = state["step"]


def check_strength(strength: float) -> None:
    """Raise `PrunusError` unless it is finite and not negative."""
    if not 0 <= strength < torch.inf:
        raise PrunusError(f"strength {strength} of the penalty is negative or not finite.")
