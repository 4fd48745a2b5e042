"""`prunus lineage`."""

from pathlib import Path

from prunus.cli.options import Json
from prunus.cli.output import print_json


def lineage(store: Path, *, json: Json = False) -> None:
    """What came from what in STORE: every start, mask and training run below its parent."""
    from prunus.store import opened
    from prunus.store.lineage import described, drawn
    from prunus.store.lineage import lineage as roots_of

    found = opened(store)
    roots = roots_of(found)
    if not json:
        for line in drawn(roots):
            print(line)
        return
    pieces, stack = [], list(roots)
    while stack:
        node = stack.pop()
        stack += node.children
        pieces.append({"id": node.run, "what": described(node), "parents": node.parents})
    print_json({"store": str(store), "pieces": sorted(pieces, key=lambda piece: str(piece["id"]))})
