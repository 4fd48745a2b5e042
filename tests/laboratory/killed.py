"""`prunus` in a process that is killed at a given moment, and in another one, and in a third.

    python killed.py '[["checkpoint.safetensors", 3, "before"], ...]' ticket lenet-300-100 ...

A moment is a file that is about to get its name, or has just got it, for so many times in that process. The processes
are forked from this one, which has done nothing but import. The last line says how each of them ended.
"""

import itertools
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import sklearn.datasets  # noqa: F401  # here once, and not in every process
import torch

from prunus import cli, laboratory, recipe  # noqa: F401
from prunus.recipe import lottery_ticket, usual  # noqa: F401


def run(moment: tuple[str, int, str], arguments: list[str]) -> int:
    name, number, place = moment
    replace, times = os.replace, itertools.count(1)

    def watched(source: Any, target: Any) -> None:
        due = re.fullmatch(name, Path(target).name) is not None and next(times) == number
        if due and place == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = watched
    time.monotonic = itertools.count(step=0.25).__next__  # so that there are checkpoints, every 10 seconds
    return cli.run(arguments)


if __name__ == "__main__":
    torch.optim.SGD([torch.zeros(1)])  # as above: its first use imports a lot
    endings = []
    for moment in json.loads(sys.argv[1]):
        child = os.fork()
        if not child:
            os._exit(run(moment, sys.argv[2:]))
        endings.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(endings))
