"""The same search in one process, in two, and on Ray: the seconds of each, and whether all have the same bytes.

    python benchmarks/engines.py [--rounds 3] [--steps 5000]

Two replicates of two rounds on LeNet-300-100, with two controls, each time into an empty store; engines take turns, as
many times as `--rounds` says. Ray starts a cluster on this machine, or finds one there. Writes results/engines.json.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from experiment import contents, print_table
from machine import keep
from prunus.laboratory import pool, serial
from prunus.laboratory.engine import ray
from prunus.recipe.lottery_ticket import hunt_tickets
from prunus.recipe.usual import ticket_settings, ticket_task, usual_hunt
from prunus.store import Store

ENGINES = {
    "one process": serial,
    "two processes": pool(2),
    "Ray, cluster started": ray(),
    "Ray, cluster there": ray(),
}


@contextmanager
def cluster() -> Iterator[None]:
    """A cluster of two cores that is there, and warm."""
    import ray as cluster

    cluster.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    cluster.get([cluster.remote(echoed).remote(number) for number in range(2)])
    try:
        yield
    finally:
        cluster.shutdown()


def echoed(number: int) -> int:
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5000)
    options = parser.parse_args()
    settings = replace(ticket_settings("lenet-300-100"), steps=options.steps)
    hunt = usual_hunt(ticket_task("lenet-300-100", "mnist"), settings, rounds=2, keep=0.8)
    hunt = replace(hunt, seeds=(0, 1), controls=("reinit", "shuffle"))
    seconds: dict[str, list[float]] = {name: [] for name in ENGINES}
    found = []

    def timed(name: str, folder: str) -> None:
        store = Store(Path(folder) / f"{name}-{len(seconds[name])}")
        start = time.perf_counter()
        hunt_tickets(hunt, store, ENGINES[name])
        seconds[name].append(time.perf_counter() - start)
        found.append(contents(store.path))
        print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)

    with TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for name in ENGINES:
                if name.endswith("there"):
                    with cluster():
                        timed(name, folder)
                else:
                    timed(name, folder)
    same = all(one == found[0] for one in found)
    one_process = statistics.median(seconds["one process"])
    rows = [
        [
            name,
            f"{statistics.median(many):.1f} [{min(many):.1f}, {max(many):.1f}]",
            f"{statistics.median(many) / one_process:.2f}",
        ]
        for name, many in seconds.items()
    ]
    print_table(["engine", "seconds, median [least, most]", "of one process"], rows)
    print(f"{len(found)} stores of {len(found[0])} files, same bytes: {same}")
    print(keep("engines", {"options": vars(options), "seconds": seconds, "files": len(found[0]), "same": same}))
    raise SystemExit(not same)


if __name__ == "__main__":
    main()
