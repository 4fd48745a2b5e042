"""From what a person writes (`lenet-5`, `file.py:factory`, `timm:NAME`, `hf:NAME`) to a network."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from prunus.data import Data
from prunus.errors import PrunusError, unknown
from prunus.imported import imported
from prunus.models.description import BUILT_IN, Description

NAMES = (*BUILT_IN, "file.py:factory", "package.module:factory", "timm:NAME", "hf:NAME")


def build(name: str, data: Data | None = None, *, seed: int = 0) -> nn.Module:
    """The network called `name`, fitted to the images and classes of `data`, its start drawn from `seed`.

    `name` is a built-in one, `file.py:factory` or `package.module:factory` (called with those of
    `input_shape`, which is (channels, height, width), and `classes` that it has parameters for),
    `timm:NAME`, or `hf:NAME` for an image classifier of the transformers library. Without `data`, a built-in
    network is the published one. It takes images (B, C, H, W) and gives logits (B, classes). torch's random
    state is left as it was.

    >>> build("lenet-300-100", seed=1).fc1
    Linear(in_features=784, out_features=300, bias=True)
    """
    shape = data.input_shape if data else None
    classes = len(data.classes) if data else None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name in BUILT_IN:
            description = Description(name, shape, classes) if shape and classes else Description.published(name)
            return description.make()
        source, colon, what = name.partition(":")
        if not colon or not source or not what:
            raise unknown("model", name, NAMES)
        if source == "timm":
            return _from_timm(what, shape, classes)
        if source == "hf":
            return _from_transformers(what, classes)
        return _from_factory(name, {"input_shape": shape, "classes": classes})


def _from_factory(name: str, offered: dict[str, Any]) -> nn.Module:
    factory = imported("model", name)
    if not callable(factory):
        raise PrunusError(f"model '{name}' is a {type(factory).__name__}, expected a function or class.")
    model = factory(**_wanted(name, factory, offered))
    if not isinstance(model, nn.Module):
        raise PrunusError(f"model '{name}' gave a {type(model).__name__}, expected a torch.nn.Module.")
    return model


def _wanted(name: str, factory: Callable[..., object], offered: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(factory).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    for parameter in needed:
        if parameter not in offered:
            raise PrunusError(
                f"model '{name}' needs the argument '{parameter}', only {' and '.join(offered)} can be given."
            )
        if offered[parameter] is None:
            raise PrunusError(f"model '{name}' needs '{parameter}', which only data can tell: name the data.")
    return {p.name: offered[p.name] for p in parameters if offered.get(p.name) is not None}


def _from_timm(what: str, shape: tuple[int, int, int] | None, classes: int | None) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise PrunusError(f"model 'timm:{what}' needs timm: pip install 'prunus[timm]'.") from error
    if not timm.is_model(what):
        raise unknown("timm model", what, timm.list_models(f"*{what.split('_')[0]}*")[:20])
    fitted = {"in_chans": shape[0], "num_classes": classes} if shape else {}
    model: nn.Module = timm.create_model(what, pretrained=False, **fitted)
    return model


def _from_transformers(what: str, classes: int | None) -> nn.Module:
    try:
        from transformers import AutoModelForImageClassification
    except ImportError as error:
        raise PrunusError(f"model 'hf:{what}' needs transformers: pip install 'prunus[hf]'.") from error
    fitted = {"num_labels": classes, "ignore_mismatched_sizes": True} if classes else {}
    try:
        model = AutoModelForImageClassification.from_pretrained(
            what, use_safetensors=True, trust_remote_code=False, **fitted
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise PrunusError(f"model 'hf:{what}' cannot be loaded: {reason}") from error
    model.register_forward_hook(_logits)
    return model  # type: ignore[no-any-return]


def _logits(_module: nn.Module, _inputs: Any, outputs: Any) -> Tensor:
    return outputs.logits  # type: ignore[no-any-return]
