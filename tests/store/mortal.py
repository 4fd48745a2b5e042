"""A piece that waits, or dies, in the middle; run as a program, it is made in a process of its own."""

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from prunus.store import Bench, Outcome, Store


@dataclass(frozen=True, eq=False)
class Mortal:
    """Writes down in the file `diary` what it does."""

    diary: Path = field(metadata={"place": True})
    dies: bool = False

    def make(self, bench: Bench) -> Outcome:
        taken_up = bench.unfinished.read_text() if bench.unfinished.exists() else "anew"
        self.write(f"begins {taken_up}")
        bench.unfinished.write_text("from the middle")
        print("in the middle", flush=True)
        if self.dies and taken_up == "anew":
            os.kill(os.getpid(), signal.SIGKILL)
        if __name__ == "__main__":
            sys.stdin.readline()
        self.write("ends")
        return Outcome(None, {"taken_up": taken_up})

    def write(self, line: str) -> None:
        with open(self.diary, "a") as file:
            file.write(f"{line}\n")


if __name__ == "__main__":
    folder, diary, dies = sys.argv[1:]
    Store(folder).make(Mortal(Path(diary), dies == "dies"))
