"""Ray, on a cluster of its own and on one that is there already: the same bytes, whoever is killed."""

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from prunus.errors import PrunusError
from prunus.laboratory import Task, serial
from prunus.laboratory import engine as engines
from prunus.laboratory.engine import ray as ray_engine
from prunus.recipe.comparison import Plan, compare
from prunus.settings import Settings
from prunus.store import Piece, Store, identity

from .searches import contents, search

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow  # a cluster takes seconds to start, and each of its processes to import torch


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of a cluster that starts now find `deadly`."""
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}{os.pathsep}{path}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster that knows neither our folder nor our data, and our own connection to it."""
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.chdir(tmp_path_factory.mktemp("elsewhere"))
        elsewhere.delenv("PRUNUS_DATA", raising=False)
        elsewhere.setenv("PYTHONPATH", f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        context = ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    with context:
        yield context.address_info["address"]


def quiet(*_: Any) -> None:
    """No progress."""


def test_a_search_with_a_process_that_is_killed_has_the_bytes_of_the_serial_one(
    store: Store, deadly: ModuleType, tmp_path: Path, expected: dict[str, str]
) -> None:
    """On a cluster that the engine starts, and ends."""
    assert not ray.is_initialized()
    serial(undisturbed := Store(tmp_path / "undisturbed"), deadly.graph())
    told: list[tuple[Any, ...]] = []

    def engine(store: Store, pieces: list[Piece], progress: Any) -> None:
        deaths = deadly.graph(tmp_path / "diary", deaths=1)
        ray_engine()(store, [*pieces, *deaths], lambda *line: told.append(line))

    search(store, engine)
    assert not ray.is_initialized()
    assert contents(store) == expected | contents(undisturbed)
    assert sorted((tmp_path / "diary").read_text().splitlines()) == [
        *("1: 1 of 1", "2: 1 of 1", "3: 1 of 3", "3: 2 of 3", "3: 3 of 3"),
        *(f"4: {number} of 5" for number in range(1, 6)),
    ]
    pieces = len(store.runs())
    assert [line[:3] for line in told] == [("pieces", done, pieces) for done in range(1, pieces + 1)]


def test_a_connection_that_is_there_is_used_and_stays(store: Store, deadly: ModuleType, cluster: str) -> None:
    """Names of files, and of data, mean there what they mean here."""
    ray_engine()(store, [deadly.Surroundings()], quiet)
    assert ray.is_initialized()
    found = {"folder": os.getcwd(), "data": os.environ.get("PRUNUS_DATA"), "threads": 1}
    assert store.metrics(deadly.Surroundings()) == found


def test_methods_are_compared_on_from_where_the_serial_engine_ended(
    store: Store, cluster: str, tmp_path: Path, one_thread: None
) -> None:
    """What the store holds is not made again, and the figures and bytes are those of one serial comparison."""
    settings = Settings(steps=12, batch=60, optimizer="adam", learning_rate=5e-3)
    plan = Plan(Task.of("lenet-300-100", "digits"), settings, ("snip", "magnitude-fine-tuned"), (0.1,), (0, 1))
    told: list[tuple[Any, ...]] = []
    compare(replace(plan, methods=("snip",)), store, rounds=0)
    there = len(store.runs())
    found = compare(plan, store, ray_engine(), lambda *line: told.append(line), rounds=0)
    serially = Store(tmp_path / "serially")
    assert found == compare(plan, serially, rounds=0)
    assert len(told) == len(serially.runs()) - there > 0
    mine, other = contents(store), contents(serially)
    assert {path: mine[path] for path in other} == other


def test_a_second_connection_is_refused(store: Store, deadly: ModuleType, cluster: str) -> None:
    with pytest.raises(PrunusError, match=f"^the Ray cluster at '{cluster}' cannot be reached: .*twice.*[^.]\\.$"):
        ray_engine(cluster)(store, deadly.graph(), quiet)
    assert ray.is_initialized()


def test_what_goes_wrong_far_away_is_said_in_its_own_words(store: Store, deadly: ModuleType, cluster: str) -> None:
    with pytest.raises(PrunusError) as caught:
        ray_engine()(store, [deadly.Failing()], quiet)
    assert type(caught.value) is PrunusError
    assert str(caught.value) == "the layer 'fc7' is not there."
    assert ray.is_initialized()


def test_processes_that_are_killed_too_often(
    store: Store, deadly: ModuleType, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_DEATHS", 0)
    with pytest.raises(PrunusError, match=r"^the Ray cluster lost a piece of work: The worker died[^\n]*[^.]\.$"):
        ray_engine()(store, deadly.graph(tmp_path / "diary", deaths=1), quiet)
    assert len(store.runs()) == 2


def test_workers_of_other_versions_make_nothing(
    store: Store, deadly: ModuleType, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "identity", lambda piece: identity(piece)[::-1])  # what our versions would make of it
    with pytest.raises(PrunusError, match=r"^the worker on .* has other versions of prunus or torch\.$"):
        ray_engine()(store, deadly.graph(), quiet)
    assert store.runs() == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("ray://127.0.0.1:1", "Connection refused"),
        ("nonsense", "Invalid address format: nonsense"),
        ("127.0.0.1:port", "port"),
        ("nowhere.invalid:6379", ""),
    ],
)
def test_addresses_where_no_cluster_is(store: Store, deadly: ModuleType, address: str, reason: str) -> None:
    with pytest.raises(
        PrunusError, match=f"^the Ray cluster at '{address}' cannot be reached: .*{reason}.*(?<!\\.)\\.$"
    ):
        ray_engine(address)(store, deadly.graph(), quiet)


def test_nothing_to_do_connects_to_nothing(store: Store, deadly: ModuleType) -> None:
    serial(store, deadly.graph())
    ray_engine("127.0.0.1:1")(store, deadly.graph(), quiet)


def test_without_ray(store: Store, deadly: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PrunusError, match=r"needs Ray: pip install 'prunus\[ray\]'"):
        ray_engine()(store, deadly.graph(), quiet)
