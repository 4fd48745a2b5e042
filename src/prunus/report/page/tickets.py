"""A search for tickets with its controls: the section of the page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from prunus.errors import FormatError
from prunus.report.page.archive import Archive, Value
from prunus.report.page.chart import Axis, Zoom, lines, picture, shaded, spread
from prunus.report.page.content import Cell, Figure, Section, Style
from prunus.report.page.pixels import pixel_map
from prunus.report.page.series import Point, Series, joined
from prunus.report.page.settings import settings
from prunus.report.page.wording import count, figures, hundredths, over_replicates, percent, several

STYLES = {
    "ticket": Style("--series-ticket"),
    "reinit": Style("--series-reinit", "solid", "square"),
    "shuffle": Style("--series-shuffle", "solid", "diamond"),
    "random": Style("--series-random", "solid", "triangle-up"),
    "random-ratios": Style("--series-random-ratios", "6px,3px", "triangle-down"),
    "smart-ratio": Style("--series-smart-ratio", "6px,3px", "pentagon"),
    "inverted": Style("--series-inverted", "2px,3px", "x"),
    "one-shot": Style("--series-one-shot", "6px,3px", "star"),
    "corrupt-labels": Style("--series-corrupt-labels", "2px,3px", "cross"),
    "corrupt-pixels": Style("--series-corrupt-pixels", "2px,3px", "hexagon"),
}
_OTHER = Style("--series-other", "9px,3px,2px,3px", "circle-open")

_DENSITY = Axis("density", figures, "%", "log", falling=True)
_ACCURACY = Axis("accuracy", hundredths, "%")
_CURVES, _PICTURES = 6, 6


@dataclass(frozen=True)
class _Round:
    """A round over all replicates."""

    number: int
    density: float
    tickets: tuple[str, ...]
    masks: tuple[str, ...]
    controls: dict[str, tuple[str, ...]]


def tickets(study: Value, archive: Archive) -> Section:
    """What a study of the kind "tickets" found."""
    rounds = [_read(found, archive) for found in study["rounds"]]
    if not rounds:
        raise FormatError(f"{study.place}: rounds is empty.")
    accuracy = _over_density(rounds, archive, lambda run: 100 - run["error"].number())
    return Section(
        kind="Tickets",
        title=study["title"].text(),
        lead=_lead(rounds),
        facts=_facts(accuracy[0]),
        figures=tuple(_figures(rounds, accuracy, archive)),
        settings=settings(study["hunt"]),
    )


def _read(found: Value, archive: Archive) -> _Round:
    masks = archive.runs(found["masks"])
    runs = archive.runs(found["runs"])
    if not runs:
        raise FormatError(f"{found.place}: runs is empty.")
    controls = {name: archive.runs(value) for name, value in found["controls"].items()}
    return _Round(
        int(found["round"].number()),
        fmean(archive.metrics(mask)["density"].number() for mask in masks) if masks else 1.0,
        runs,
        masks,
        {name: control for name, control in controls.items() if control},
    )


def _lead(rounds: Sequence[_Round]) -> str:
    names = list(dict.fromkeys(name for found in rounds for name in found.controls))
    beside = f", beside {', '.join(names)}" if names else ""
    return (
        f"{several(len(rounds) - 1, 'round')} of pruning, from {percent(rounds[0].density)} of the weights to "
        f"{percent(rounds[-1].density)}{beside}. {over_replicates(len(rounds[0].tickets))}"
    )


def _facts(accuracy: Series) -> tuple[tuple[str, str], ...]:
    """What the accuracies of the tickets, dense first, come to."""
    dense, *found = accuracy.points
    if not found:
        return (("dense", _right(dense)),)
    as_good = [point.x for point in found if point.mean >= dense.mean]
    return (
        ("dense", _right(dense)),
        ("best ticket", _right(max(found, key=lambda point: point.mean))),
        ("sparsest ticket no worse than dense", f"{figures(min(as_good))} %" if as_good else "none"),
        ("sparsest ticket", _right(found[-1])),
    )


def _right(point: Point) -> str:
    return f"{hundredths(point.mean)} % at {figures(point.x)} %"


def _figures(rounds: Sequence[_Round], accuracy: Sequence[Series], archive: Archive) -> Iterable[Figure]:
    early = _over_density(rounds, archive, lambda run: 100 - run["early_stop"]["error"].number())
    yield lines(
        "Accuracy",
        "Right on the test part at the end of training; dotted: the dense network.",
        _DENSITY,
        _ACCURACY,
        accuracy,
        level=accuracy[0].points[0].mean,
        zoom=_zoom("Zoom to the ticket", accuracy[0].points),
        wide=True,
    )
    yield lines(
        "Early-stopping step",
        "The step where the validation loss was least: how soon a network has learned what it will.",
        _DENSITY,
        Axis("step", count),
        _over_density(rounds, archive, lambda run: run["early_stop"]["step"].number()),
    )
    yield lines(
        "Accuracy at the early-stopping step",
        "Right on the test part with the weights of that step; dotted: the dense network.",
        _DENSITY,
        _ACCURACY,
        early,
        level=early[0].points[0].mean,
        zoom=_zoom("Zoom to the ticket", early[0].points),
    )
    yield _curves(rounds, archive)
    if any(found.masks for found in rounds):
        yield _layers(rounds, archive)
        yield from _pictures(rounds, archive)


def _over_density(rounds: Sequence[_Round], archive: Archive, measure: Callable[[Value], float]) -> list[Series]:
    """`measure` of the tickets, then of each control, in percent of density."""

    def point(found: _Round, runs: tuple[str, ...]) -> Point:
        return Point(100 * found.density, tuple(measure(archive.metrics(run)) for run in runs), runs)

    controls = dict.fromkeys(name for found in rounds for name in found.controls)
    return [
        Series("ticket", STYLES["ticket"], tuple(point(found, found.tickets) for found in rounds)),
        *(
            Series(
                name,
                STYLES.get(name, _OTHER),
                tuple(point(found, found.controls[name]) for found in rounds if name in found.controls),
            )
            for name in controls
        ),
    ]


def _curves(rounds: Sequence[_Round], archive: Archive) -> Figure:
    chosen = spread(rounds, _CURVES)
    series = [
        Series(
            f"round {found.number}, {percent(found.density)}",
            shaded(place, len(chosen)),
            joined([_curve(archive.metrics(run)) for run in found.tickets], found.tickets),
        )
        for place, found in enumerate(chosen)
    ]
    late = [point for line in series for point in line.points[len(line.points) // 3 :]]
    return lines(
        "Validation curves",
        "Right on the validation part while tickets of these rounds train.",
        Axis("step", count),
        _ACCURACY,
        series,
        zoom=_zoom("Zoom to the end", late),
    )


def _zoom(name: str, points: Iterable[Point]) -> Zoom | None:
    """The heights of `points`, with some air; None without points."""
    values = [value for point in points for value in point.values]
    if not values:
        return None
    air = 0.05 * max(max(values) - min(values), 0.1)
    return Zoom(name, min(values) - air, max(values) + air)


def _curve(run: Value) -> dict[float, float]:
    """Accuracy in percent by step."""
    return {point[0].number(): 100 - point[1].number() for point in run["curve"]}


def _layers(rounds: Sequence[_Round], archive: Archive) -> Figure:
    pruned = [found for found in rounds if found.masks]
    names = [name for name, _ in archive.metrics(pruned[0].masks[0])["densities"].items()]

    def points(name: str) -> Iterable[Point]:
        for found in pruned:
            kept = (100 * archive.metrics(mask)["densities"][name].number() for mask in found.masks)
            yield Point(found.number, tuple(kept), found.masks)

    return lines(
        "Density of each layer",
        "What is kept of each tensor, round after round.",
        Axis("round", count, kind="category"),
        Axis("density", figures, "%", "log"),
        [Series(name, shaded(place, len(names)), tuple(points(name))) for place, name in enumerate(names)],
    )


def _pictures(rounds: Sequence[_Round], archive: Archive) -> Iterable[Figure]:
    plots, tables = [], []
    for found in spread([found for found in rounds if found.masks], _PICTURES):
        name, kept = next(iter(archive.mask(found.masks[0]).items()))
        pixels = pixel_map(kept)
        if pixels is None:
            return
        density = percent(found.density)
        plot, table = picture(
            f"Weights of {name} kept at each pixel, density {density}. The numbers are in the table below.",
            Cell(f"{density}: at most {int(pixels.max())} of {len(kept)}", found.masks[:1]),
            pixels,
            "weights kept",
        )
        plots.append(plot)
        tables.append(table)
    yield Figure(
        "What the first layer looks at",
        f"Weights of {name} that each pixel of the input keeps, first replicate; each picture has its own scale.",
        tuple(plots),
        tuple(tables),
        wide=True,
    )
