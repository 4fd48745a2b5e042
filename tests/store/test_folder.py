"""A store is a folder: what is in it is whole, was made once, and is what it says it is."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from prunus.errors import FormatError, PrunusError
from prunus.mask import Mask
from prunus.snapshot import Snapshot
from prunus.store import Bench, Outcome, Piece, Store, identity, opened

from .pieces import Largest, Number, Rich, Weights


@dataclass(frozen=True, eq=False)
class Told:
    """A piece that does what the test says."""

    do: Callable[[Bench], Outcome] = field(metadata={"place": True})
    name: str = "told"

    def make(self, bench: Bench) -> Outcome:
        return self.do(bench)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def files(store: Store) -> set[str]:
    return {str(path.relative_to(store.path)) for path in store.path.rglob("*") if path.is_file()}


def bits(snapshot: Snapshot) -> dict[str, list[float]]:
    return {name: value.tolist() for name, value in snapshot.weights.items()}


def test_a_piece_is_made_once_however_often_it_is_asked_for(store: Store) -> None:
    times = []

    def make(bench: Bench) -> Outcome:
        times.append(bench)
        return Outcome(None, {"times": len(times)})

    assert Told(make) not in store
    for _ in range(3):
        store.make(Told(make))
        Store(store.path).make(Told(make))
    assert Told(make) in store
    assert store.metrics(Told(make)) == {"times": 1}
    assert len(times) == 1


def test_what_is_in_it(store: Store) -> None:
    pieces: list[Piece] = [Weights(), Largest(Weights()), Number(7)]
    for piece in pieces:
        store.make(piece)
    runs = [identity(piece) for piece in pieces]
    names = ["about.json", "metrics.json", "specification.toml"]
    expected = {f"{run}/{name}" for run in runs for name in names} | {f"{run}/result.safetensors" for run in runs[:2]}
    assert files(store) == expected | {"store.json"}
    assert store.runs() == sorted(runs)
    assert store.folder(pieces[0]) == store.path / runs[0]
    assert [store.specification_of(run)["kind"] for run in runs] == ["Weights", "Largest", "Number"]
    assert json.loads((store.path / runs[0] / "about.json").read_text()).keys() == {"finished", "machine", "seconds"}


def test_results_are_snapshots_and_masks(store: Store) -> None:
    store.make(Weights())
    store.make(Largest(Weights()))
    torch.manual_seed(3)
    layer = torch.nn.Linear(3, 2)
    found = store.result(Weights())
    assert isinstance(found, Snapshot)
    assert bits(found) == {"weight": layer.weight.tolist(), "bias": layer.bias.tolist()}
    mask = store.result(Largest(Weights()))
    assert isinstance(mask, Mask)
    assert mask == Mask({"weight": layer.weight > 0})
    assert store.metrics(Largest(Weights())) == {"density": mask.density}


def test_the_same_content_has_the_same_bytes(tmp_path: Path) -> None:
    """The library that writes tensors orders several metadata by chance."""
    pieces: list[Piece] = [Weights(), Largest(Weights())]
    seen: dict[str, set[bytes]] = {identity(piece): set() for piece in pieces}
    for number in range(12):
        store = Store(tmp_path / str(number))
        for piece in pieces:
            store.make(piece)
            seen[identity(piece)].add((store.folder(piece) / "result.safetensors").read_bytes())
    assert [len(contents) for contents in seen.values()] == [1, 1]


def test_a_parent_has_to_be_there(store: Store) -> None:
    mask = Largest(Weights())
    with pytest.raises(PrunusError, match=f"^{identity(Weights())} is not in the store {store.path}.$"):
        store.make(mask)
    assert mask not in store
    store.make(Weights())
    store.make(mask)
    assert mask in store


def test_what_is_not_there_or_has_no_result(store: Store) -> None:
    run = identity(Number(1))
    for ask in (lambda: store.result(Number(1)), lambda: store.metrics(Number(1)), lambda: store.specification_of(run)):
        with pytest.raises(PrunusError, match=f"^{run} is not in the store {store.path}.$"):
            ask()
    store.make(Number(1))
    with pytest.raises(PrunusError, match=f"^{run} in the store .* became neither weights nor a mask.$"):
        store.result(Number(1))


def test_a_failure_leaves_nothing_that_looks_finished_and_is_taken_up(store: Store) -> None:
    taken_up = []

    def make(bench: Bench) -> Outcome:
        taken_up.append(bench.unfinished.read_text() if bench.unfinished.exists() else None)
        bench.unfinished.write_text(f"after {len(taken_up)}")
        if len(taken_up) < 3:
            raise RuntimeError("in the middle")
        return Outcome(None, {"tries": len(taken_up)})

    piece = Told(make)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="in the middle"):
            store.make(piece)
        assert piece not in store
        assert store.runs() == []
        assert files(store) == {"store.json", f".{identity(piece)}.unfinished/checkpoint.safetensors"}
    store.make(piece)
    assert taken_up == [None, "after 1", "after 2"]
    assert store.metrics(piece) == {"tries": 3}
    assert {path.name for path in store.folder(piece).iterdir()} == {"about.json", "metrics.json", "specification.toml"}
    assert [path.name for path in store.path.iterdir() if path.name.startswith(".")] == []


def test_a_failure_while_the_result_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full at each of the four files in turn, then at the rename of all; at last there is room."""
    replace, writes = os.replace, []

    def full(source: Any, target: Any) -> None:
        writes.append(target)
        if len(writes) in (1, 3, 6, 10, 15):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    for _ in range(5):
        with pytest.raises(OSError, match="No space left"):
            store.make(Weights())
        assert Weights() not in store
        assert store.runs() == []
    store.make(Weights())
    assert len(writes) == 20
    assert store.metrics(Weights()) == {"size": 3}
    assert len(list(store.folder(Weights()).iterdir())) == 4


def test_half_written_files_of_a_killed_process_are_not_kept(store: Store) -> None:
    run = identity(Weights())
    unfinished = store.path / f".{run}.unfinished"
    unfinished.mkdir()
    for name in (".result.safetensors.0a1b.tmp", ".checkpoint.safetensors.77aa.tmp", "metrics.json"):
        (unfinished / name).write_text("half of")
    store.make(Weights())
    names = {path.name for path in store.folder(Weights()).iterdir()}
    assert names == {"about.json", "metrics.json", "result.safetensors", "specification.toml"}
    assert store.metrics(Weights()) == {"size": 3}


def test_metrics_come_back_as_they_were(store: Store) -> None:
    metrics = {"curve": [[0, 1.5, 0.1], [50, 1e-9, 2.0]], "none": None, "text": "größe\n", "deep": {"a": {"b": [1]}}}
    piece = Told(lambda bench: Outcome(None, metrics))
    store.make(piece)
    assert store.metrics(piece) == store.metrics_of(identity(piece)) == metrics


def test_a_folder_of_other_things_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(PrunusError, match=f"{tmp_path} is not a store and not an empty folder"):
        Store(tmp_path)
    with pytest.raises(PrunusError, match=r"thesis.tex is not a store and not an empty folder"):
        Store(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_and_a_new_one_become_stores(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b" / "new"):
        assert Store(path).runs() == []
        assert json.loads((path / "store.json").read_text()) == {"prunus_store": 1}
        assert opened(path).path == path


def test_a_store_whose_making_was_killed_is_made(tmp_path: Path) -> None:
    (tmp_path / ".store.json.0a1b2c3d.tmp").write_text("")
    assert Store(tmp_path).runs() == []


def test_a_store_that_appears_while_one_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process makes it, and a piece in it, after we saw no mark and before we list the folder."""
    listed = Path.iterdir

    def late(path: Path) -> Any:
        monkeypatch.setattr(Path, "iterdir", listed)
        Store(tmp_path).make(Number(1))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", late)
    assert Store(tmp_path).metrics(Number(1)) == {"value": 1}


@pytest.mark.parametrize("text", ['{"prunus_store": 2}', "{}", "", "no json", "[]", "7"])
def test_a_mark_that_is_not_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(FormatError, match=r"^.*store\.json is .*\.$"):
        Store(tmp_path)


def test_opening_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "nowhere", tmp_path / "nowhere" / "deeper"):
        with pytest.raises(PrunusError, match=f"there is no store in '{path}'"):
            opened(path)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b"7", b"null", b"[" * 100_000])
def test_damaged_metrics(store: Store, content: bytes) -> None:
    store.make(Number(1))
    path = store.folder(Number(1)) / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"^{path} is damaged: [^\n]*[^.]\\.$"):
        store.metrics(Number(1))


@pytest.mark.parametrize(
    "content", [b"", b"kind = ", b"\xff\xfe\x00", b'kind = "Number"', b"a = 1979-05-27", b"a = nan"]
)
def test_damaged_specifications(store: Store, content: bytes) -> None:
    store.make(Number(1))
    path = store.folder(Number(1)) / "specification.toml"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"^{path} is damaged: [^\n]*[^.]\\.$"):
        store.specification_of(identity(Number(1)))


@pytest.mark.parametrize("name", ["metrics.json", "specification.toml"])
def test_a_part_that_is_gone(store: Store, name: str) -> None:
    store.make(Number(1))
    (store.folder(Number(1)) / name).unlink()
    read = {"metrics.json": store.metrics_of, "specification.toml": store.specification_of}[name]
    with pytest.raises(FormatError, match=f"{name} is damaged: .*No such file"):
        read(identity(Number(1)))


def test_a_specification_that_was_altered(store: Store) -> None:
    store.make(Number(1))
    path = store.folder(Number(1)) / "specification.toml"
    path.write_text(path.read_text().replace("value = 1", "value = 2"))
    with pytest.raises(FormatError, match=f"of another piece, {identity(Number(2))}"):
        store.specification_of(identity(Number(1)))


@pytest.mark.parametrize("piece", [Weights(), Largest(Weights())], ids=["snapshot", "mask"])
@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_damaged_results(store: Store, piece: Piece, cut: int) -> None:
    store.make(Weights())
    if piece not in store:
        store.make(piece)
    path = store.folder(piece) / "result.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FormatError, match=f"^{path} is damaged: it holds neither weights nor a mask.$"):
        store.result(piece)


def test_studies(store: Store) -> None:
    assert store.studies() == []
    studies = [
        {"kind": "tickets", "title": "b", "runs": ["x"]},
        {"kind": "tickets", "title": "a"},
        {"kind": "connection"},
    ]
    for study in (*studies, *studies):
        store.keep_study(study)
    assert sorted(map(json.dumps, store.studies())) == sorted(map(json.dumps, studies))
    assert store.studies()[0] == studies[2]
    assert store.runs() == []
    next((store.path / "studies").glob("connection-*")).write_text("{")
    with pytest.raises(FormatError, match=r"connection-.*\.json is damaged"):
        store.studies()


def test_progress_reaches_the_piece(store: Store) -> None:
    heard: list[tuple[Any, ...]] = []

    def make(bench: Bench) -> Outcome:
        bench.progress("train", 1, 2, "note")
        return Outcome()

    store.make(Told(make), lambda *what: heard.append(what))
    assert heard == [("train", 1, 2, "note")]
    store.make(Rich(), lambda *what: heard.append(what))
    store.make(Told(make), lambda *what: heard.append(what))
    assert len(heard) == 1
