"""A specification as a file: what is read back is what was written, to the type, and has the same hash."""

import string
import tomllib
from dataclasses import make_dataclass
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prunus.errors import FormatError
from prunus.store import identity, specification
from prunus.store.identity import from_toml, hashed, to_toml

from .pieces import Rich

TEXTS = st.text() | st.text(st.sampled_from("\0\t\n\r\x1b\x7f\x85\u2028\ufeff\"'\\#=[]{}é😀u0"))
SCALARS = (
    st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
KEYS = st.text(string.ascii_letters + string.digits + "_", min_size=1) | st.sampled_from(["größe", "λ", "π_2"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=8)


def typed(value: Any) -> Any:
    """`value` with the type of everything in it, and floats by their bits: 1, 1.0 and True differ, 0.0 and -0.0 too."""
    if isinstance(value, dict):
        return {name: typed(part) for name, part in value.items()}
    if isinstance(value, list):
        return [typed(part) for part in value]
    return type(value), value.hex() if isinstance(value, float) else value


@given(st.dictionaries(KEYS, VALUES))
@example({"keeps": [["fc3.weight", 0.9], ["fc1.weight", 0.5]], "task": {"model": "a", "none": []}, "seed": 1})
@example({"after": {"a": 1}, "before": 2, "empty": {}, "list": [{}, {"a": {"b": [1.0]}}]})
@example({"a": -0.0, "b": 1e22, "c": 5e-324, "d": 1e16, "e": 1.7976931348623157e308, "f": 10.0})
@example({"a": "😀\x7f\\\x7f\\u007f", "b": "\r\n", "c": "\\", "d": '"'})
def test_round_trip(value: dict[str, Any]) -> None:
    text = to_toml(value)
    assert typed(from_toml(text)) == typed(value)
    assert typed(tomllib.loads(text.encode().decode())) == typed(value)
    assert hashed(from_toml(text)) == hashed(value)


@given(st.lists(SCALARS, min_size=1, max_size=3).map(tuple), TEXTS)
def test_of_pieces(values: tuple[Any, ...], name: str) -> None:
    kind = make_dataclass("Any", [("values", Any), ("name", str)], frozen=True, eq=False, namespace={"make": print})
    piece = kind(values, name)
    assert hashed(from_toml(to_toml(specification(piece)))) == identity(piece)


def test_as_it_is_read_by_a_person() -> None:
    rich = Rich(name="größe")
    expected = f"""\
kind = "Rich"
name = "größe"
count = 1
rate = 1.0
sure = true
pairs = [["fc3.weight", 0.9]]
parent = "{identity(rich.parent)}"
several = ["{identity(rich.several[0])}", "{identity(rich.several[1])}"]

[versions]
prunus = "{specification(rich)["versions"]["prunus"]}"
torch = "{specification(rich)["versions"]["torch"]}"

[detail]
rate = 0.5
"""
    assert to_toml(specification(rich)) == expected


@pytest.mark.parametrize("text", ["a", "a = ", "a = 1\na = 2", "a = null", "[a", "a = nope"])
def test_what_is_no_toml_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="not a specification: "):
        from_toml(text)
