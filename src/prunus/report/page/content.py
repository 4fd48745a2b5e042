"""What a page is made of: plain values that the template writes out."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """Text, and the runs it was measured in."""

    text: str
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column names the row."""

    columns: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""


@dataclass(frozen=True)
class Style:
    """How a series looks: a colour of `page.css` by name, the lengths of its dashes, the shape of its points."""

    colour: str
    dash: str = "solid"
    symbol: str = "circle"


@dataclass(frozen=True)
class Key:
    """An entry of a legend, which shows and hides its series."""

    name: str
    style: Style


@dataclass(frozen=True)
class Plot:
    """A plotly figure as plain values; its colours are names in `page.css`, which follow light and dark."""

    label: str
    spec: dict[str, Any]
    caption: Cell | None = None


@dataclass(frozen=True)
class Figure:
    """Plots under one heading, their legend, and all their numbers as tables.

    `zoom` names a closer look at the y axis, from and to the limits that the plots' specs hold.
    """

    title: str
    caption: str
    plots: tuple[Plot, ...]
    tables: tuple[Table, ...]
    legend: tuple[Key, ...] = ()
    zoom: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """All about one study; `apart` says what it differs in from others of its title."""

    kind: str
    title: str
    lead: str
    apart: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
