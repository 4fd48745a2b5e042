"""A folder of finished stages: long work that is killed goes on from the last one."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from prunus.checkpoint import read_weights, write_weights
from prunus.errors import PrunusError
from prunus.files import written_whole


class WorkFolder:
    """Stages of one piece of work, each a file that appears whole when the stage is done.

    The work is identified by everything that determines its result. A folder that holds other work is refused,
    unless `own` says that nobody else keeps things there: then it is emptied.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, own: bool = False) -> None:
        self.path = folder
        wanted = json.dumps(identity, sort_keys=True, indent=1, default=str)
        note = folder / "identity.json"
        if folder.exists() and not (note.is_file() and note.read_text() == wanted):
            if not own and any(folder.iterdir()):
                raise PrunusError(f"{folder} holds other work; name an empty folder, or the same options again.")
            shutil.rmtree(folder)
        if not folder.exists():
            folder.mkdir(parents=True)
            with written_whole(note) as temporary:
                temporary.write_text(wanted)

    def stage(self, name: str, make: Callable[[Path], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of the stage called `name`: read if it is finished, else made by `make` and kept.

        `make` gets the path of a file where it may keep its own unfinished state; it is removed afterwards.
        """
        finished = self.path / f"{name}.safetensors"
        unfinished = self.path / f"{name}.unfinished"
        if not finished.exists():
            write_weights(finished, make(unfinished))
        unfinished.unlink(missing_ok=True)
        return read_weights(finished)

    def remove(self) -> None:
        """Remove the folder with all stages."""
        shutil.rmtree(self.path)
