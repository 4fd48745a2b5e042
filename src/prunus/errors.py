"""What can be wrong with what we are given: every message is one sentence meant for a person."""

from collections.abc import Iterable
from difflib import get_close_matches


class PrunusError(ValueError):
    """Input that cannot be used; the message says what was found and what was expected."""


class FormatError(PrunusError):
    """A file that is not what it claims to be: truncated, altered, over-declared or too new."""


class DivergedError(PrunusError):
    """Training that produced NaN or infinity; the message names the step and the place."""


def unknown(kind: str, name: str, valid: Iterable[str]) -> PrunusError:
    """The error for a name that is not one of `valid`, naming the nearest valid one.

    >>> str(unknown("model", "lenet5", ["lenet-5", "fc-500"]))
    "unknown model 'lenet5', did you mean 'lenet-5'? Valid: lenet-5, fc-500."
    """
    names = list(valid)
    nearest = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f", did you mean {nearest[0]!r}?" if nearest else "."
    return PrunusError(f"unknown {kind} {name!r}{hint} Valid: {', '.join(names)}.")
