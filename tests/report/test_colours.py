"""The colours of page.css: told apart on screen and by people with colour blindness, in light and in dark."""

import re
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest

from prunus.recipe.lottery_ticket import CONTROLS
from prunus.report.page.chart import SHADES
from prunus.report.page.tickets import STYLES

# Machado, Oliveira & Fernandes 2009, table 1, severity 1.0: linear RGB as people without one kind of cone see it.
SEEN = {
    "by most": np.eye(3),
    "without red cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "without green cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
# Ottosson 2020: linear RGB to cones, and their cube roots to OKLab.
CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def schemes():
    """The colours by name, light and dark, as linear RGB."""
    style = files("prunus.report.page").joinpath("page.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    found = [dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", text)) for text in (light, dark)]
    return [{name: linear(value) for name, value in colours.items()} for colours in found]


def linear(code):
    part = np.array([int(code[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def contrast(first, second):
    """WCAG 2.2: the ratio of relative luminances."""
    low, high = sorted(float(colour @ [0.2126, 0.7152, 0.0722]) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


def distance(first, second):
    """The least distance in OKLab, however somebody sees."""
    seen = [[np.clip(matrix @ colour, 0, 1) for colour in (first, second)] for matrix in SEEN.values()]
    return min(float(np.linalg.norm(OKLAB @ (np.cbrt(CONES @ a) - np.cbrt(CONES @ b)))) for a, b in seen)


both = pytest.mark.parametrize("colours", schemes(), ids=["light", "dark"])


def test_dark_has_another_value_for_every_colour():
    light, dark = schemes()
    assert light.keys() == dark.keys()
    assert not [name for name in light if np.array_equal(light[name], dark[name])]


def test_every_control_has_a_style_of_its_own():
    assert set(CONTROLS) | {"ticket"} == STYLES.keys()
    assert len(set(STYLES.values())) == len(STYLES)


@both
def test_every_line_stands_out_from_the_card(colours):
    lines = [style.colour[2:] for style in STYLES.values()] + [f"shade-{place}" for place in range(SHADES)]
    faint = [name for name in [*lines, "series-dense", "series-other"] if contrast(colours[name], colours["card"]) < 3]
    assert not faint


@both
def test_series_are_told_apart_without_one_kind_of_cone(colours):
    names = [style.colour[2:] for style in STYLES.values()]
    near = [pair for pair in combinations(names, 2) if distance(*(colours[name] for name in pair)) < 0.08]
    assert not near


@both
def test_shades_and_maps_go_one_way(colours):
    for names in ([f"shade-{place}" for place in range(SHADES)], ["map-none", "map-half", "map-all"]):
        light = [float((OKLAB @ np.cbrt(CONES @ colours[name]))[0]) for name in names]
        assert light in (sorted(light), sorted(light, reverse=True))
