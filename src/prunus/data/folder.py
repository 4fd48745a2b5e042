"""Folders in hub layout: parquet or arrow files, or images in one folder per class, for each split.

A folder may come from a stranger: nothing in it is run, no address in it is followed, and only the picture
bytes in its tables are read. Nothing is written into it.
"""

import hashlib
import io
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunus.errors import PrunusError

TABLES = (".parquet", ".arrow")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
LARGEST = 16 << 30  # bytes of decoded pixels that one split may hold in memory
_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_LABEL_COLUMNS = ("label", "labels", "fine_label")


@dataclass(frozen=True)
class Images:
    """A decoded split."""

    inputs: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64
    classes: tuple[str, ...]


def find_splits(folder: Path) -> dict[str, list[Path]]:
    """The files of each split found in `folder`, by split ('train', 'validation', 'test') and sorted.

    Raises `PrunusError` where there are none, or where tables of one split lie in several folders (several
    sets).
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        split = _split_of(inside)
        if split and path.is_file() and not any(part.startswith(".") for part in inside.parts):
            found.setdefault(split, []).append(path)
    for split, files in found.items():
        kinds = {path.suffix.lower() if path.suffix.lower() in TABLES else "pictures" for path in files}
        if len(kinds) > 1:
            raise PrunusError(f"data folder '{folder}' mixes {' and '.join(sorted(kinds))} in its {split} split.")
        homes = {str(path.parent.relative_to(folder)) for path in files}
        if kinds != {"pictures"} and len(homes) > 1:
            raise PrunusError(
                f"data folder '{folder}' holds several sets, name one of them: {', '.join(sorted(homes))}."
            )
    return found


def _split_of(inside: Path) -> str | None:
    suffix = inside.suffix.lower()
    if suffix not in TABLES + PICTURES:
        return None
    first_word = re.split(r"[^a-z]", inside.name.lower(), maxsplit=1)[0]
    words = [part.lower() for part in inside.parts[:-1]]
    if suffix in TABLES:
        words.insert(0, first_word)
    return next((split for word in words for split, names in _SPLIT_WORDS.items() if word in names), None)


def fingerprint(files: Iterable[Path]) -> str:
    """A hash of the names and contents of `files`, in hexadecimal."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.parent.name}/{path.name} {content}\n".encode())
    return digest.hexdigest()


def read(files: list[Path]) -> Images:
    """Decode the files of one split.

    Raises `PrunusError` for tables without an image and a label column, for a picture that cannot be decoded,
    for pictures of different sizes or channels, for labels that are not 0, 1, 2, ..., and for more than
    `LARGEST` bytes.
    """
    if files[0].suffix.lower() in TABLES:
        values, pictures, classes = _read_tables(files)
    else:
        values, pictures, classes = _read_pictures(files)
    home = files[0].parent
    if not values:
        raise PrunusError(f"'{home}' has a split without a single picture.")
    for number, value in enumerate(values):
        if not isinstance(value, int) or value < 0 or (classes and value >= len(classes)):
            most = len(classes) - 1 if classes else "the number of classes less one"
            raise PrunusError(f"row {number} of '{home}' has the label {value}, expected 0 to {most}.")
    if classes is None:
        classes = tuple(str(index) for index in range(max(values) + 1))
    return Images(_decode(len(values), pictures), torch.tensor(values), classes)


Pictures = Iterator[tuple[str, bytes]]  # where it was found, its bytes as in a file


def _read_tables(files: list[Path]) -> tuple[list[int], Pictures, tuple[str, ...] | None]:
    try:
        import datasets
    except ImportError as error:
        raise PrunusError(
            "reading tables of pictures needs the datasets library: pip install 'prunus[lab]'."
        ) from error

    kind = files[0].suffix.lower().removeprefix(".")
    with _readable(files[0], kind):
        table = datasets.load_dataset(kind, data_files=[str(f) for f in files], split="train", streaming=True)
        features = table.features
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name in _LABEL_COLUMNS if name in features]
    if len(images) != 1 or not labels:
        raise PrunusError(
            f"'{files[0]}' has the columns {', '.join(features)}, "
            f"expected one of images and one of labels ({' or '.join(_LABEL_COLUMNS)})."
        )
    (image,), label = images, labels[0]
    table = table.cast_column(image, datasets.Image(decode=False))

    def column(name: str) -> Iterator[Any]:
        with _readable(files[0], kind):
            for batch in table.select_columns([name]).with_format("arrow").iter(1000):
                yield from batch[name].to_pylist()

    def pictures() -> Pictures:
        for number, picture in enumerate(column(image)):
            where = f"row {number} of '{files[0].parent}'"
            if not isinstance(picture, dict) or not picture.get("bytes"):
                raise PrunusError(f"{where} has no picture bytes in its column '{image}'.")
            yield where, picture["bytes"]

    names = getattr(features[label], "names", None)
    return list(column(label)), pictures(), tuple(names) if names else None


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Whatever goes wrong inside is said in one sentence, and not on the terminal too."""
    logger = logging.getLogger("datasets")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except Exception as error:  # a damaged table fails in a dozen ways
        raise PrunusError(f"'{path}' cannot be read as a {kind} table: {_first_line(error)}") from error
    finally:
        logger.setLevel(level)


def _read_pictures(files: list[Path]) -> tuple[list[int], Pictures, tuple[str, ...]]:
    classes = tuple(sorted({path.parent.name for path in files}))
    labels = [classes.index(path.parent.name) for path in files]
    return labels, ((f"'{path}'", path.read_bytes()) for path in files), classes


def _decode(count: int, pictures: Pictures) -> Tensor:
    try:
        from PIL import Image
    except ImportError as error:
        raise PrunusError("reading pictures needs the pillow library: pip install 'prunus[lab]'.") from error

    inputs = np.empty((0, 0, 0, 0), dtype=np.uint8)
    expected = ("", 0, 0)
    for number, (where, content) in enumerate(pictures):
        try:
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "BMP", "WEBP")) as picture:
                mode = "L" if picture.mode in ("1", "L") else "RGB"
                found = (mode, *picture.size)
                if number == 0:
                    expected = found
                    inputs = _room(count, *found, where)
                if found != expected:
                    raise PrunusError(
                        f"{where} is {found[1]}x{found[2]} {found[0]}, but the first picture is "
                        f"{expected[1]}x{expected[2]} {expected[0]}; all must be alike."
                    )
                pixels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
        except PrunusError:
            raise
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise PrunusError(f"{where} is not a picture that can be decoded: {_first_line(error)}") from error
        inputs[number] = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(inputs)


def _room(count: int, mode: str, width: int, height: int, where: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    shape = (count, 1 if mode == "L" else 3, height, width)
    if (size := int(np.prod(shape, dtype=object))) > LARGEST:
        raise PrunusError(
            f"{where} is {width}x{height}, and {count} pictures like it take {size / 2**30:.0f} GiB decoded, "
            f"more than the {LARGEST >> 30} GiB that a split may hold in memory."
        )
    return np.empty(shape, dtype=np.uint8)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
