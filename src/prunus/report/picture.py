"""One picture of a compression: what each stage took and lost, and the weights before and after sharing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from prunus.errors import PrunusError
from prunus.files import written_whole

INK, BARS, LINE, GRID = "#1d2433", "#5b8def", "#d1495b", "#e3e7ee"


def draw_compression(
    path: Path,
    title: str,
    stages: Sequence[tuple[str, int, float]],
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
) -> None:
    """Write a PNG to `path`: bytes on disk and test error of each of `stages` (name, bytes, error in percent).

    Below, for each tensor, the histogram of its nonzero weights `before` sharing, with the shared values `after`.
    """
    try:
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PrunusError("pictures need matplotlib: pip install 'prunus[lab]'.") from error

    rows = (len(before) + 2) // 3
    figure = Figure(figsize=(12, 4.2 + 2.6 * rows), layout="constrained")
    top, bottom = np.ravel(figure.subfigures(2, 1, height_ratios=[4.2, 2.6 * rows], squeeze=False))
    figure.suptitle(title, fontsize=15, color=INK, x=0.01, ha="left")
    left, right = top.subplots(1, 2)
    names = [name for name, _, _ in stages]
    _bars(left, names, [size for _, size, _ in stages])
    _errors(right, names, [error for _, _, error in stages])
    axes: list[Axes] = list(np.ravel(bottom.subplots(rows, min(3, len(before)), squeeze=False)))
    for axis, name in zip(axes, before, strict=False):
        _weights(axis, name, before[name], after[name])
    for axis in axes[len(before) :]:
        axis.set_visible(False)
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _bars(axis, names: Sequence[str], sizes: Sequence[int]) -> None:  # type: ignore[no-untyped-def]
    axis.bar(names, sizes, color=BARS, width=0.6)
    axis.set_yscale("log")
    axis.set_ylim(min(sizes) / 4, max(sizes) * 4)
    for place, size in enumerate(sizes):
        axis.text(place, size * 1.15, f"{size:,} B\n{sizes[0] / size:.1f}x", ha="center", va="bottom", color=INK)
    axis.set_title("bytes on disk (log scale)", loc="left", color=INK)
    _tidy(axis)


def _errors(axis, names: Sequence[str], errors: Sequence[float]) -> None:  # type: ignore[no-untyped-def]
    axis.plot(names, errors, color=LINE, marker="o", linewidth=2)
    axis.set_ylim(0, max([*errors, 0.1]) * 1.6)
    for place, error in enumerate(errors):
        axis.annotate(f"{error:.2f} %", (place, error), (0, 9), textcoords="offset points", ha="center", color=INK)
    axis.margins(x=0.15)
    axis.set_title("test error", loc="left", color=INK)
    _tidy(axis)


def _weights(axis, name: str, before: Tensor, after: Tensor) -> None:  # type: ignore[no-untyped-def]
    values, shared = before[before != 0].float().numpy(), after[after != 0].float()
    axis.hist(values, bins=80, color=BARS, alpha=0.55)
    centroids = shared.unique()
    axis.vlines(centroids, 0, axis.get_ylim()[1], color=LINE, linewidth=1.1)
    axis.set_title(f"{name}: {values.size:,} kept, {len(centroids)} shared values", loc="left", fontsize=10, color=INK)
    _tidy(axis)


def _tidy(axis) -> None:  # type: ignore[no-untyped-def]
    axis.grid(axis="y", color=GRID)
    axis.set_axisbelow(True)
    axis.tick_params(colors=INK, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
