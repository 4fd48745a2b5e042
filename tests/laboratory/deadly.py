"""Pieces that other processes make, too: they import this file as `deadly`. One kills its process in the middle."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import torch

from prunus.errors import PrunusError
from prunus.mask import Mask
from prunus.store import Bench, Outcome, Piece


@dataclass(frozen=True, eq=False)
class Counted:
    """A mask that keeps as many entries as its parents together and one; it counts up to there, and notes it."""

    number: int
    parents: tuple[Piece, ...] = ()
    diary: Path | None = field(default=None, metadata={"place": True})
    deaths: int = field(default=0, metadata={"place": True})

    def make(self, bench: Bench) -> Outcome:
        total = 1 + sum(bench.result(parent).kept for parent in self.parents)
        done = int(bench.unfinished.read_text()) if bench.unfinished.exists() else 0
        while done < total:
            done += 1
            bench.unfinished.write_text(str(done))
            if self.note(f"{self.number}: {done} of {total}") <= self.deaths:
                os.kill(os.getpid(), signal.SIGKILL)
        kept = torch.zeros(4, 16, dtype=torch.bool)
        kept.view(-1)[self.number : self.number + total] = True
        return Outcome(Mask({"weight": kept}), {"kept": total})

    def note(self, line: str) -> int:
        """Write a line into the diary; how many lines about this piece there are."""
        if self.diary is None:
            return self.deaths + 1
        with open(self.diary, "a") as file:
            file.write(f"{line}\n")
        return sum(line.startswith(f"{self.number}: ") for line in self.diary.read_text().splitlines())


@dataclass(frozen=True, eq=False)
class Failing:
    """A piece that cannot be made."""

    def make(self, bench: Bench) -> Outcome:
        raise PrunusError("the layer 'fc7' is not there.")


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A piece that notes where it was made."""

    def make(self, bench: Bench) -> Outcome:
        data = os.environ.get("PRUNUS_DATA")
        return Outcome(None, {"folder": os.getcwd(), "data": data, "threads": torch.get_num_threads()})


def graph(diary: Path | None = None, deaths: int = 0) -> list[Piece]:
    """Two that need nothing, one that needs both and kills so many processes that make it, one more."""
    first, second = Counted(1, (), diary), Counted(2, (), diary)
    both = Counted(3, (first, second), diary, deaths)
    return [Counted(4, (both, first), diary), both]
