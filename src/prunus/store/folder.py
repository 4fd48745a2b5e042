"""The store: a folder with one folder for each finished piece, which appears whole."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from prunus.errors import FormatError, PrunusError
from prunus.files import written_whole
from prunus.mask import Mask
from prunus.progress import Progress, silent
from prunus.snapshot import Snapshot
from prunus.store.identity import from_toml, hashed, identity, specification, to_toml

Result = Snapshot | Mask
_PARTS = ("result.safetensors", "specification.toml", "metrics.json", "about.json")


@dataclass(frozen=True)
class Outcome:
    """What a piece became: its weights or mask, if any, and what was measured on the way (plain values)."""

    result: Result | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """What a piece works with: results of its parents, a file to keep unfinished work in, an ear for progress."""

    result: Callable[["Piece"], Any]
    unfinished: Path
    progress: Progress


class Piece(Hashable, Protocol):
    """A part of an experiment: a frozen dataclass of plain values, dataclasses of such, and other pieces.

    Its fields decide what it becomes, to the bit; pieces among them are its parents.
    """

    def make(self, bench: Bench) -> Outcome:
        """Do the work; if `bench.unfinished` exists, go on from it."""


def opened(path: str | os.PathLike[str]) -> "Store":
    """The store in the folder `path`; raises `PrunusError` where there is none."""
    if not (Path(path) / "store.json").is_file():
        raise PrunusError(f"there is no store in '{os.fspath(path)}'.")
    return Store(path)


class Store:
    """Finished pieces of experiments in a folder, each made once, whoever asks for it again.

    A piece is made under a temporary name and renamed when it is complete, so what is in the store is whole;
    a kill costs the time since the last checkpoint. Several processes may work on one store: each piece has a
    lock. Raises `PrunusError` for a folder that holds other things.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        mark = self.path / "store.json"
        if not mark.is_file():
            if _is_taken(self.path) and not mark.is_file():  # it may have come in between
                raise PrunusError(f"{self.path} is not a store and not an empty folder.")
            self.path.mkdir(parents=True, exist_ok=True)
            _write(mark, json.dumps({"prunus_store": 1}))
        if (found := _read(mark, json.loads).get("prunus_store")) != 1:
            raise FormatError(f"{mark} is that of a store of version {found}, expected 1.")

    def __contains__(self, piece: Piece) -> bool:
        return self.folder(piece).is_dir()

    def folder(self, piece: Piece) -> Path:
        """Where `piece` is, or would be."""
        return self.path / identity(piece)

    def result(self, piece: Piece) -> Any:
        """The weights or the mask that `piece` became."""
        path = self._inside(identity(piece)) / "result.safetensors"
        if not path.is_file():
            raise PrunusError(f"{identity(piece)} in the store {self.path} became neither weights nor a mask.")
        try:
            return Snapshot.load(path)
        except FormatError as error:
            try:
                return Mask.load(path)
            except FormatError:
                raise FormatError(f"{path} is damaged: it holds neither weights nor a mask.") from error

    def metrics(self, piece: Piece) -> dict[str, Any]:
        """What was measured while `piece` was made."""
        return self.metrics_of(identity(piece))

    def metrics_of(self, run: str) -> dict[str, Any]:
        """What was measured while the piece of identity `run` was made."""
        return _read(self._inside(run) / "metrics.json", json.loads)

    def specification_of(self, run: str) -> dict[str, Any]:
        """The specification of the piece of identity `run`; raises `FormatError` unless it hashes to `run`."""

        def parse(text: str) -> dict[str, Any]:
            found = from_toml(text)
            if hashed(found) != run:
                raise FormatError(f"it is the specification of another piece, {hashed(found)}.")
            return found

        return _read(self._inside(run) / "specification.toml", parse)

    def runs(self) -> list[str]:
        """The identities of all finished pieces."""
        return sorted(path.parent.name for path in self.path.glob("*/specification.toml") if path.parent.name[0] != ".")

    def make(self, piece: Piece, progress: Progress = silent) -> None:
        """Make `piece` unless it is there already; its parents have to be."""
        finished = self.folder(piece)
        unfinished = self.path / f".{finished.name}.unfinished"
        with _locked(self.path / f".{finished.name}.lock"):
            if finished.is_dir():
                return
            started = time.monotonic()
            unfinished.mkdir(exist_ok=True)
            outcome = piece.make(Bench(self.result, unfinished / "checkpoint.safetensors", progress))
            if outcome.result is not None:
                outcome.result.save(unfinished / "result.safetensors")
            _write(unfinished / "specification.toml", to_toml(specification(piece)))
            _write(unfinished / "metrics.json", json.dumps(outcome.metrics) + "\n")
            _write(unfinished / "about.json", json.dumps(_about(time.monotonic() - started)) + "\n")
            for left in set(os.listdir(unfinished)).difference(_PARTS):  # checkpoints, and files half written
                (unfinished / left).unlink()
            os.replace(unfinished, finished)

    def keep_study(self, study: Mapping[str, Any]) -> None:
        """Note which pieces make up a study (plain values, with a `kind`, one word), for reports and for people."""
        if not str(study["kind"]).isidentifier():
            raise PrunusError(f"the kind of a study is one word, found {study['kind']!r}.")
        folder = self.path / "studies"
        folder.mkdir(exist_ok=True)
        _write(folder / f"{study['kind']}-{hashed(study)}.json", json.dumps(study) + "\n")

    def studies(self) -> list[dict[str, Any]]:
        """All studies that were kept, in the order of their files' names."""
        return [_read(path, json.loads) for path in sorted((self.path / "studies").glob("*.json"))]

    def _inside(self, run: str) -> Path:
        folder = self.path / run
        if not folder.is_dir():
            raise PrunusError(f"{run} is not in the store {self.path}.")
        return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone with what `path` stands for, among all processes that ask so; the system frees it when one dies."""
    while True:
        file = open(path, "w")  # noqa: SIM115  # closed below, on every way
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                break  # else its last owner removed the file that we waited for
        except BaseException:
            file.close()
            raise
        file.close()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _is_taken(path: Path) -> bool:
    """Whether `path` is something else than an empty folder, or one that began to be a store."""
    return path.exists() and (not path.is_dir() or any(not p.name.startswith(".store.json.") for p in path.iterdir()))


def _about(seconds: float) -> dict[str, Any]:
    """What of the making of a piece says nothing of the piece."""
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    return {"finished": finished, "machine": os.uname().machine, "seconds": round(seconds, 3)}


def _write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        return dict(parse(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError, RecursionError) as error:
        raise FormatError(f"{path} is damaged: {str(error).rstrip('.')}.") from error
