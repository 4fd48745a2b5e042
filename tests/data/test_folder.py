import io
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from prunus.data import cache, folder, load
from prunus.data.named import _set_apart
from prunus.errors import PrunusError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRUNUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(pixels: np.ndarray[Any, Any], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def random_pixels(count: int, *shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_table(
    path: Path, pixels: Any, labels: list[Any], *, label: str = "label", names: list[str] | None = None
) -> None:
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(),
            label: datasets.ClassLabel(names=names) if names else datasets.Value("int64"),
        }
    )
    rows = [{"bytes": p if isinstance(p, bytes) else picture(p), "path": None} for p in pixels]
    table = pa.table({"image": rows, label: pa.array(labels, pa.int64())}, schema=features.arrow_schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def write_set(home: Path, **changes: Any) -> None:
    pixels = random_pixels(20, 6, 5)
    labels = [n % 2 for n in range(20)]
    write_table(home / "data" / "train-00000-of-00001.parquet", pixels, labels, **changes)
    write_table(home / "data" / "test-00000-of-00001.parquet", pixels[:4], labels[:4], **changes)


def test_grey_tables_give_their_pixels_back(tmp_path: Path) -> None:
    write_set(tmp_path, names=["cat", "dog"])
    data = load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.validation)) == (18, 2)
    pixels = torch.from_numpy(random_pixels(20, 6, 5))[:, None]
    rest, apart = _set_apart(20, 2)
    assert torch.equal(data.validation.inputs, pixels[apart])
    assert torch.equal(data.train.inputs, pixels[rest])
    assert torch.equal(data.test().inputs, pixels[:4])
    assert data.test().labels.tolist() == [0, 1, 0, 1]
    assert data.augment is None


def test_colour_tables_of_several_files_in_order(tmp_path: Path) -> None:
    pixels = random_pixels(9, 4, 4, 3)
    for part in range(3):
        rows = slice(3 * part, 3 * part + 3)
        write_table(tmp_path / f"train-0000{part}-of-00003.parquet", pixels[rows], [0, 1, 2])
    write_table(tmp_path / "test.parquet", pixels[:1], [0])
    write_table(tmp_path / "validation.parquet", pixels[1:2], [1], label="fine_label")
    data = load(tmp_path)
    assert torch.equal(data.train.inputs, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert data.train.labels.tolist() == [0, 1, 2] * 3
    assert torch.equal(data.validation.inputs[0], torch.from_numpy(pixels[1]).permute(2, 0, 1))
    assert data.classes == ("0", "1", "2")


def test_folders_of_pictures(tmp_path: Path) -> None:
    pixels = random_pixels(4, 3, 3)
    for number, place in enumerate(["train/cat/a", "train/dog/b", "test/dog/c", "test/cat/d"]):
        path = tmp_path / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(pixels[number]))
    data = load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert torch.equal(data.train.inputs[:, 0], torch.from_numpy(pixels[:2]))
    assert data.test().labels.tolist() == [0, 1]  # sorted by path: test/cat/d, test/dog/c


def test_labels_follow_the_names_that_train_gives_them(tmp_path: Path) -> None:
    pixels = random_pixels(3, 3, 3)
    for number, place in enumerate(["train/cat/a", "train/dog/b", "test/dog/c"]):
        path = tmp_path / "pictures" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(pixels[number]))
    assert load(tmp_path / "pictures").test().labels.tolist() == [1]

    write_table(tmp_path / "tables" / "train.parquet", pixels, [0, 1, 2], names=["a", "b", "c"])
    write_table(tmp_path / "tables" / "test.parquet", pixels, [0, 1, 2], names=["c", "a", "b"])
    assert load(tmp_path / "tables").test().labels.tolist() == [2, 0, 1]


def test_arrow_tables(tmp_path: Path) -> None:
    pixels = random_pixels(4, 3, 3)
    write_table(tmp_path / "source.parquet", pixels, [0, 1, 0, 1])
    table = pq.read_table(tmp_path / "source.parquet")
    for name in ("train.arrow", "test.arrow"):
        with pa.OSFile(str(tmp_path / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    assert torch.equal(load(tmp_path).test().inputs, torch.from_numpy(pixels)[:, None])


def test_nothing_is_written_beside_the_data_and_no_network_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    home = tmp_path / "home"
    write_set(home)
    (home / "README.md").write_text("---\nconfigs:\n- data_files: https://example.com/evil.parquet\n---\n")
    (home / "home.py").write_text("raise SystemExit('run')")
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    load(home).test()
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


def test_test_part_is_not_opened_by_loading(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "data" / "test-00000-of-00001.parquet").write_bytes(b"not a table")
    data = load(tmp_path)
    with pytest.raises(PrunusError, match="cannot be read as a parquet table"):
        data.test()


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("decoded again")


def test_cache_answers_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path)
    first = load(tmp_path)
    monkeypatch.setattr(folder, "_read_tables", refuse)
    again = load(tmp_path)
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert torch.equal(first.validation.labels, again.validation.labels)
    assert first.classes == again.classes


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "stranger"])
def test_damaged_cache_is_replaced(
    tmp_path: Path, own_cache: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path)
    first = load(tmp_path)
    (kept,) = (own_cache / "data").iterdir()
    whole = kept.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    contents = {
        "flip": bytes(flipped),
        "truncate": whole[:-9],
        "empty": b"",
        "stranger": b"\x02" + b"\0" * 7 + b"{}",
    }
    kept.write_bytes(contents[damage])
    assert torch.equal(load(tmp_path).train.labels, first.train.labels)
    monkeypatch.setattr(folder, "_read_tables", refuse)
    assert torch.equal(load(tmp_path).train.labels, first.train.labels)


def test_changed_data_is_not_answered_from_the_cache(tmp_path: Path) -> None:
    write_set(tmp_path)
    first = load(tmp_path)
    write_table(tmp_path / "data" / "train-00000-of-00001.parquet", random_pixels(20, 6, 5, seed=1), [0, 1] * 10)
    second = load(tmp_path)
    assert not torch.equal(first.train.inputs, second.train.inputs)
    assert first.fingerprint != second.fingerprint


def test_unwritable_cache_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PRUNUS_CACHE", str(tmp_path / "file"))
    assert len(load(tmp_path).train) == 18


def test_cache_folder_is_in_the_home_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRUNUS_CACHE")
    assert cache.folder() == Path.home() / ".cache" / "prunus"


def _no_test(home: Path) -> None:
    (home / "data" / "test-00000-of-00001.parquet").unlink()


def _two_sets(home: Path) -> None:
    write_table(home / "other" / "train.parquet", random_pixels(1, 6, 5), [0])


def _text(home: Path) -> None:
    pq.write_table(pa.table({"sentence": ["good"], "label": [1]}), home / "data" / "train-00000-of-00001.parquet")


def _train(pixels: Any, labels: list[Any], **changes: Any) -> Callable[[Path], None]:
    return lambda home: write_table(home / "data" / "train-00000-of-00001.parquet", pixels, labels, **changes)


def _bytes_elsewhere(home: Path) -> None:
    import datasets

    schema = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")}).arrow_schema
    rows = [{"bytes": None, "path": "https://example.com/a.png"}]
    table = pa.table({"image": rows, "label": [0]}, schema=schema)
    pq.write_table(table, home / "data" / "train-00000-of-00001.parquet")


GREY = random_pixels(2, 6, 5)
CASES = {
    "no test split": (_no_test, "has no test split, found train"),
    "two sets": (_two_sets, "holds several sets, name one of them: data, other"),
    "text": (_text, "has the columns sentence, label, expected one of images"),
    "sizes": (
        _train([GREY[0], random_pixels(1, 5, 6)[0]], [0, 1]),
        "row 1 of .* is 6x5 L, but the first .* 5x6 L",
    ),
    "channels": (_train([GREY[0], random_pixels(1, 6, 5, 3)[0]], [0, 1]), "row 1 of .* is 5x6 RGB"),
    "no picture": (_train([GREY[0], b"GIF89a"], [0, 1]), "row 1 of .* is not a picture that can be decoded"),
    "cut picture": (
        _train([GREY[0], picture(GREY[1])[:50]], [0, 1]),
        "row 1 of .* is not a picture that can",
    ),
    "negative label": (
        _train(GREY, [0, -1]),
        "row 1 of .* has the label -1, expected 0 to the number of classes",
    ),
    "no label": (_train(GREY, [0, None]), "row 1 of .* has the label None, expected 0 to"),
    "no rows": (_train([], []), "cannot be read as a parquet table"),
    "bytes elsewhere": (_bytes_elsewhere, "row 0 of .* has no picture bytes in its column 'image'"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_folder_is_one_sentence(tmp_path: Path, case: str) -> None:
    spoil, sentence = CASES[case]
    write_set(tmp_path)
    spoil(tmp_path)
    with pytest.raises(PrunusError, match=sentence) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "labels", "names", "sentence"),
    [
        (random_pixels(1, 7, 5), [0], None, r"test images of shape \(1, 7, 5\), train has \(1, 6, 5\)"),
        (random_pixels(1, 6, 5), [0], ["bird"], "classes in test that train does not have: bird"),
    ],
)
def test_test_part_unlike_train(tmp_path: Path, pixels: Any, labels: Any, names: Any, sentence: str) -> None:
    write_set(tmp_path)
    write_table(tmp_path / "data" / "test-00000-of-00001.parquet", pixels, labels, names=names)
    data = load(tmp_path)
    with pytest.raises(PrunusError, match=sentence):
        data.test()


def test_too_large_a_split_is_refused_before_memory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path)
    monkeypatch.setattr(folder, "LARGEST", 20 * 6 * 5 - 1)
    with pytest.raises(PrunusError, match="20 pictures like it take"):
        load(tmp_path)
