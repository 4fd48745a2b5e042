"""SIGKILL at random moments of `prunus compress`, started again each time: the same bytes as undisturbed.

    python benchmarks/kill.py --times 10

Writes results/kill.json.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import keep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="lenet-300-100")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--budget", type=float, default=0.1)
    parser.add_argument("--times", type=int, default=10)
    options = parser.parse_args()
    command = [
        *(sys.executable, "-m", "prunus.cli", "compress", options.model, "--data", options.data),
        *("--budget", str(options.budget), "-o"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = Path(folder) / "undisturbed.prunus", Path(folder) / "killed.prunus"
        started = time.monotonic()
        subprocess.run([*command, undisturbed], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        whole = time.monotonic() - started
        moments = []
        draw = random.Random(0)
        while len(moments) < options.times:
            process = subprocess.Popen([*command, killed], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            after = draw.uniform(3.0, max(4.0, whole / 3))
            try:
                process.wait(after)
                killed.unlink()  # it finished: begin anew, there are moments left to kill at
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                moments.append(round(after, 2))
                stages = sorted(path.name for path in (Path(folder) / ".killed.prunus.stages").glob("*"))
                print(f"killed after {after:.2f} s with {', '.join(stages)}", flush=True)
        subprocess.run([*command, killed], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (undisturbed, killed)]
    same = digests[0] == digests[1]
    keep("kill", {"options": vars(options), "killed_after": moments, "sha256": digests, "same": same})
    print(f"{len(moments)} kills, undisturbed run {whole:.0f} s, same bytes: {same}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
