"""Paths between networks: the section of the page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from prunus.errors import FormatError
from prunus.report.page.archive import Archive, Value
from prunus.report.page.chart import Axis, lines, shaded
from prunus.report.page.content import Cell, Figure, Section, Table
from prunus.report.page.series import Point, Series, joined
from prunus.report.page.wording import count, figures, hundredths, number, over_replicates, percent, several

_STABLE = 2.0  # points (Frankle et al. 2020)
_DASHES = {"test": "solid", "train": "3px,3px"}


@dataclass(frozen=True)
class _Group:
    """The paths of all replicates between twins that part at `step`, at one density, as it is written."""

    step: float
    density: str
    paths: tuple[str, ...]


def connection(study: Value, archive: Archive) -> Section:
    """What a study of the kind "connection" found."""
    groups = _grouped(study, archive)
    if not groups:
        raise FormatError(f"{study.place}: points is empty.")
    densities = list(dict.fromkeys(group.density for group in groups))
    steps = several(len({group.step for group in groups}), "step")
    most = max(len(group.paths) for group in groups)
    return Section(
        kind="Connection",
        title=study["title"].text(),
        lead="Twins share their first steps and then see the data in different orders: the error on the straight line "
        f"between them. {steps} to part at; densities: {', '.join(densities)}. {over_replicates(most)}",
        figures=(
            _instability(groups, densities, archive),
            *(
                _paths([group for group in groups if group.density == density], split, archive)
                for density in densities
                for split in _DASHES
            ),
        ),
        tables=(_distances(groups, archive),),
    )


def _grouped(study: Value, archive: Archive) -> list[_Group]:
    """By step, the dense ones first."""
    found: dict[tuple[float, str], list[str]] = {}
    for point in sorted(study["points"], key=lambda point: (point["step"].number(), -point["density"].number())):
        density = point["density"].number()
        key = point["step"].number(), "dense" if density == 1 else percent(density)
        found.setdefault(key, []).append(archive.run(point["path"]))
    return [_Group(step, density, tuple(paths)) for (step, density), paths in found.items()]


def _instability(groups: Sequence[_Group], densities: Sequence[str], archive: Archive) -> Figure:
    def barriers(density: str, split: str) -> Iterable[Point]:
        for group in groups:
            if group.density == density:
                found = (archive.metrics(path)["barrier"][split].number() for path in group.paths)
                yield Point(group.step, tuple(found), group.paths)

    series = [
        Series(
            f"{density}, {split}",
            replace(shaded(place, len(densities)), dash=_DASHES[split]),
            tuple(barriers(density, split)),
        )
        for place, density in enumerate(densities)
        for split in _DASHES
    ]
    return lines(
        "Instability",
        "The highest error on the path less the mean of its ends', by the step at which twins part; dotted: 2 points, "
        "below which they are called stable.",
        Axis("parted at step", count, kind="category"),
        Axis("barrier", hundredths, "points"),
        series,
        level=_STABLE,
        wide=True,
    )


def _paths(groups: Sequence[_Group], split: str, archive: Archive) -> Figure:
    series = [
        Series(
            f"step {count(group.step)}",
            shaded(place, len(groups)),
            joined([_path(archive.metrics(path), split) for path in group.paths], group.paths),
        )
        for place, group in enumerate(groups)
    ]
    return lines(
        f"Paths on {split}, {groups[0].density}",
        "The error on the way from one twin (0) to the other (1), by the step at which they part.",
        Axis("part of the way", figures),
        Axis("error", hundredths, "%"),
        series,
    )


def _path(run: Value, split: str) -> dict[float, float]:
    """Error in percent by part of the way."""
    parts, errors = list(run["parts"]), list(run["errors"][split])
    if len(parts) != len(errors):
        raise FormatError(f"{run.place}: {len(parts)} parts and {len(errors)} errors on {split}.")
    return {there.number(): error.number() for there, error in zip(parts, errors, strict=True)}


def _distances(groups: Sequence[_Group], archive: Archive) -> Table:
    rows = [
        (
            Cell(count(group.step)),
            Cell(group.density),
            Cell(", ".join(number(archive.metrics(path)["distance"].number()) for path in group.paths), group.paths),
        )
        for group in groups
    ]
    columns = (Cell("parted at step"), Cell("density"), Cell("L2 distance of the twins"))
    return Table(columns, tuple(rows), "How far the twins are apart")
