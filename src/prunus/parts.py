"""Parts named on the command line: the same words as in Python, or a file of the user's own."""

import ast
from collections.abc import Callable
from typing import Any, cast

from prunus import layerwise, pattern, scope, score
from prunus.errors import PrunusError, unknown
from prunus.imported import imported
from prunus.pattern import Pattern
from prunus.pruning import Score
from prunus.scope import Scope

PATTERNS = ("element", "block", "channel", "head", "column", "whole")
METHODS = ("l_obs", "obs", "sparsegpt", "woodfisher")
SCOPES = ("network", "tensor", "row", "n_of_m", "erk", "er", "smart_ratio", "smart_ratio_vgg")


def score_named(text: str) -> Score:
    """`magnitude`, ... (any name in `prunus.score`), or `file.py:function`."""
    if ":" in text:
        return cast(Score, _callable("score", imported("score", text), text))
    if text not in score.__all__:
        raise unknown("score", text, score.__all__)
    return cast(Score, getattr(score, text))


def method_named(text: str) -> Callable[..., Any]:
    """`l_obs`, `obs`, `sparsegpt` or `woodfisher`, of `prunus.layerwise`."""
    if text not in METHODS:
        raise unknown("method", text, METHODS)
    return cast(Callable[..., Any], getattr(layerwise, text))


def pattern_named(text: str) -> Pattern:
    """`element`, `channel(0)`, `block(4, 4)`, `head(64)`, `column`, `whole`, or `file.py:name`."""
    return cast(Pattern, _part("pattern", text, pattern, PATTERNS))


def scope_named(text: str) -> Scope:
    """`network`, `tensor`, `row`, `n_of_m(2, 4)`, `erk`, `er`, `smart_ratio`, ..., or `file.py:function`."""
    return cast(Scope, _callable("scope", _part("scope", text, scope, SCOPES), text))


def _part(kind: str, text: str, module: Any, names: tuple[str, ...]) -> Any:
    """The name in `module`, called with the whole numbers in parentheses if there are any."""
    if ":" in text:
        return imported(kind, text)
    name, parenthesis, _ = text.partition("(")
    if name not in names:
        raise unknown(kind, name, names)
    part = getattr(module, name)
    if not parenthesis:
        return part() if kind == "pattern" and name == "channel" else part
    return part(*_numbers(kind, text))


def _numbers(kind: str, text: str) -> list[int]:
    try:
        call = ast.parse(text, mode="eval").body
        if isinstance(call, ast.Call) and not call.keywords:
            numbers = [ast.literal_eval(argument) for argument in call.args]
            if all(type(number) is int for number in numbers):
                return numbers
    except (SyntaxError, ValueError):
        pass
    raise PrunusError(f"{kind} {text!r}: expected whole numbers in parentheses, as in block(4, 4).")


def _callable(kind: str, part: Any, text: str) -> Callable[..., Any]:
    if not callable(part):
        raise PrunusError(f"{kind} '{text}' is a {type(part).__name__}, expected a function.")
    return cast(Callable[..., Any], part)
