"""What came from what in a store: a tree of all pieces, drawn in lines like a version history."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prunus.errors import FormatError
from prunus.store.folder import Store

_LEADING = ("mask", "trained", "start", "weights")  # whose child a piece is drawn as, where it has several parents


@dataclass
class Node:
    """A piece: its identity, specification and metrics, its parents by field, and the pieces drawn below it."""

    run: str
    specification: dict[str, Any]
    metrics: dict[str, Any]
    parents: dict[str, str]
    children: list["Node"] = field(default_factory=list)
    length: int = 1  # of the longest chain from here


def lineage(store: Store) -> list[Node]:
    """The roots of the store's tree: pieces of which no leading parent is in the store."""
    specifications = {run: store.specification_of(run) for run in store.runs()}
    nodes = {run: _node(store, run, found, specifications) for run, found in specifications.items()}
    roots: list[Node] = []
    for node in nodes.values():
        leading = next((node.parents[name] for name in _LEADING if name in node.parents), None)
        (nodes[leading].children if leading else roots).append(node)
    for root in roots:
        _measure(root)
    return sorted(roots, key=_by_text)


def drawn(roots: list[Node]) -> Iterator[str]:
    """Lines for a person: every piece below its parent, the longest chain straight down, branches beside it."""
    for root in roots:
        yield from _drawn(root, "")


def described(node: Node) -> str:
    """One line about a piece: what was done, and what it came to.

    Raises `FormatError` where its specification or metrics lack what a piece of its kind has.
    """
    try:
        return _described(node.specification, node.metrics)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{node.run} is damaged: {error!r} in its specification or metrics.") from error


def _described(found: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    match found["kind"]:
        case "Drawn":
            what = f"drawn    {found['task']['model']} for {found['task']['data']}, seed {found['seed']}"
        case "Trained" | "Slimmed" | "Lassoed" | "Factored" | "Rewired" as kind if "error" in metrics:
            right = f"{100 - metrics['error']:.2f} % right on test"
            what = f"{kind.lower()}  {metrics['steps']:,} steps, seed {found['seed']}: {right}"
        case "Trained" | "Slimmed" | "Rewired" as kind:
            what = f"{kind.lower()}  {metrics['steps']:,} steps, seed {found['seed']}, to go on"
        case "Reparametrised":
            what = f"trained  by {found['method']['kind']}: {100 * metrics['density']:.2f} % kept"
        case "GraduallyPruned":
            right = f"{100 - metrics['error']:.2f} % right on test"
            what = f"pruned   by {found['score']} in {metrics['steps']:,} steps, seed {found['seed']}: {right}"
        case "Packed":
            what = f"packed   {metrics['file_bytes']:,} bytes"
        case "Frozen":
            what = f"drawn    {found['task']['model']}, {found['start']['kind']}, seed {found['start']['seed']}"
        case "Supermasked" | "Masked":
            right = f"{100 - metrics['error']:.2f} % right on test"
            what = f"masked   {100 * metrics['density']:.2f} % kept as drawn: {right}"
        case "Pruned":
            what = f"pruned   by {found['score']}: {100 * metrics['density']:.2f} % kept"
        case "Iterated":
            rounds = found["rounds"]
            what = f"pruned   by {found['score']} in {rounds} rounds: {100 * metrics['density']:.2f} % kept"
        case "Ended":
            what = f"ended    {100 * metrics['density']:.2f} % kept"
        case "Inverted":
            what = f"inverted by {found['score']}: {100 * metrics['density']:.2f} % kept"
        case "Ranked":
            what = f"ranked   {100 * metrics['density']:.2f} % of the channels kept"
        case "Narrowed" | "Selected" as kind:
            share = metrics["parameters"] / metrics["parameters_before"]
            what = f"{kind.lower()} {100 * share:.2f} % of the parameters kept"
        case "Shuffled" | "Summed" | "Netted" | "Approximated" as kind:
            what = f"{kind.lower():<8} seed {found['seed']}"
        case "Acted":
            what = f"changed  kept: {found['kept']}, pruned: {found['pruned']}"
        case "Perturbed":
            what = f"changed  {found['change']}"
        case kind:
            what = kind.lower()
    task = found.get("task")
    corrupt = f" (corrupt {task['corrupt']})" if isinstance(task, Mapping) and "corrupt" in task else ""
    return f"{what}{corrupt}"


def _node(store: Store, run: str, found: dict[str, Any], others: Mapping[str, Any]) -> Node:
    parents = {name: value for name, value in found.items() if isinstance(value, str) and value in others}
    return Node(run, found, store.metrics_of(run), parents)


def _measure(root: Node) -> None:
    """Set the lengths of all chains, and bring children into the order in which they are drawn: longest last."""
    order, stack = [], [root]
    while stack:
        node = stack.pop()
        order.append(node)
        stack += node.children
    for node in reversed(order):
        node.length = 1 + max((child.length for child in node.children), default=0)
        node.children.sort(key=lambda child: (child.length, _by_text(child)))


def _by_text(node: Node) -> tuple[str, str]:
    return described(node), node.run


def _drawn(root: Node, prefix: str) -> Iterator[str]:
    node: Node | None = root
    while node:
        yield f"{prefix}* {node.run}  {described(node)}"
        for branch in node.children[:-1]:
            yield f"{prefix}|\\"
            yield from _drawn(branch, f"{prefix}| ")
        node = node.children[-1] if node.children else None
