"""A small search with controls, and all bytes of a store."""

import hashlib

from prunus.laboratory import Engine, Task
from prunus.recipe.lottery_ticket import Hunt, hunt_tickets
from prunus.settings import Settings
from prunus.store import Store

CONTROLS = ("reinit", "shuffle", "random-ratios", "one-shot", "corrupt-labels")


def search(store: Store, engine: Engine) -> None:
    """One round of tickets of LeNet-300-100 on digits, rewound to step 10, beside five controls."""
    task = Task.of("lenet-300-100", "digits", start="glorot")
    settings = Settings(steps=30, batch=60, augment=True)
    hunt_tickets(Hunt(task, settings, rounds=1, keep=0.5, step=10, controls=CONTROLS), store, engine)


def contents(store: Store) -> dict[str, str]:
    """The hash of every file, hidden ones too; of `about.json`, which tells the time, only that it is there."""
    paths = [path for path in store.path.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(store.path)): ""
        if path.name == "about.json"
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }
