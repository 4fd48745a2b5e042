"""SIGKILL at random moments, started again each time: the same bytes as undisturbed.

    python benchmarks/kill.py compress --times 10    # `prunus compress`: the file
    python benchmarks/kill.py ticket --times 20      # `prunus ticket`: every mask, all weights and metrics in the store

Writes results/kill-VERB.json.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from experiment import contents
from machine import keep

COMMANDS = {
    "compress": ("lenet-300-100", "--data", "mnist", "--budget", "0.1", "-o"),
    "ticket": (
        *("lenet-300-100", "--data", "mnist", "--rounds", "3", "--steps", "2000", "--controls", "reinit,shuffle"),
        *("--replicates", "2", "--processes", "2", "--store"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("verb", choices=COMMANDS)
    parser.add_argument("--times", type=int, default=10)
    options = parser.parse_args()
    command = (sys.executable, "-m", "prunus.cli", options.verb, *COMMANDS[options.verb])
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = Path(folder) / "undisturbed.prunus", Path(folder) / "killed.prunus"
        started = time.monotonic()
        run([*command, str(undisturbed)])
        whole = time.monotonic() - started
        moments = []
        draw = random.Random(0)
        while len(moments) < options.times:
            after = draw.uniform(3.0, max(4.0, whole / 3))
            if run([*command, str(killed)], after):
                remove(killed)  # it finished: begin anew, there are moments left to kill at
            else:
                moments.append(round(after, 2))
                print(f"killed after {after:.2f} s", flush=True)
        run([*command, str(killed)])
        found = [contents(path) for path in (undisturbed, killed)]
    same = found[0] == found[1]
    keep(
        f"kill-{options.verb}",
        {"command": COMMANDS[options.verb], "killed_after": moments, "files": found[0], "same": same},
    )
    print(f"{len(moments)} kills, undisturbed run {whole:.0f} s, {len(found[0])} files, same bytes: {same}")
    sys.exit(not same)


def run(command: Sequence[str], after: float | None = None) -> bool:
    """Run `command` and kill it, with all its processes, `after` so many seconds; whether it finished before."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        if process.wait(after):
            raise SystemExit(f"{' '.join(command)} ended with code {process.returncode}.")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return True


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


if __name__ == "__main__":
    main()
