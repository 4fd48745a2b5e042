"""Options that several verbs share."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

Model = Annotated[
    str,
    Parameter(
        help="lenet-300-100, lenet-5, fc-500, conv-2/4/6/8, resnet-20/32/44/56, vgg-16/19, "
        "file.py:factory, package.module:factory, timm:NAME or hf:NAME"
    ),
]
DataName = Annotated[
    str,
    Parameter(
        name="--data",
        help="digits, mnist, fashion-mnist, cifar10, cifar100, or a folder in hub layout; "
        "named sets are looked for in $PRUNUS_DATA/NAME first",
    ),
]
Weights = Annotated[Path, Parameter(name="--weights", help=".safetensors, .prunus, or .pt/.pth/.th (tensors only)")]
Out = Annotated[Path, Parameter(name=["--output", "-o"], help="the file to write, whole or not at all")]
Seed = Annotated[int, Parameter(name="--seed", help="fixes every random draw")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="one JSON object as the last line of stdout")]

Usual = TypeVar("Usual", bound=Any)


def with_chosen(usual: Usual, **chosen: Any) -> Usual:
    """The dataclass `usual` with what a person chose otherwise; None is no choice."""
    return replace(usual, **{name: value for name, value in chosen.items() if value is not None})
