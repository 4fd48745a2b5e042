"""What has to be made, and in which order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait

from prunus.store import Piece, Store, identity
from prunus.store.identity import parents


def missing(store: Store, pieces: Iterable[Piece]) -> list[Piece]:
    """What has to be made for `pieces`, each once, parents first."""
    ordered: dict[str, Piece] = {}

    def lacks(piece: Piece) -> bool:
        return identity(piece) not in ordered and piece not in store

    stack = list(pieces)[::-1]  # no recursion: chains may be long
    while stack:
        piece = stack.pop()
        if lacks(piece):
            if before := [parent for parent in parents(piece) if lacks(parent)]:
                stack += [piece, *before[::-1]]
            else:
                ordered[identity(piece)] = piece
    return list(ordered.values())


def made(pieces: list[Piece], slots: int, submit: Callable[[Piece], "Future[None]"]) -> Iterator[Piece]:
    """Each of `pieces`, which come parents first, when it is finished; at most `slots` are submitted at a time.

    Of those whose parents are finished, the ones that begin the longest chains go first.
    """
    length = _lengths(pieces)
    waiting = sorted(pieces, key=lambda piece: -length[identity(piece)])
    unmade = set(length)
    running: dict[Future[None], Piece] = {}
    while waiting or running:
        ready = [piece for piece in waiting if unmade.isdisjoint(map(identity, parents(piece)))]
        for piece in ready[: slots - len(running)]:
            waiting.remove(piece)
            running[submit(piece)] = piece
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            future.result()
            unmade.remove(identity(running[future]))
            yield running.pop(future)


def _lengths(pieces: list[Piece]) -> dict[str, int]:
    """How many of `pieces` the longest chain has that begins with each."""
    length = {identity(piece): 1 for piece in pieces}
    for piece in reversed(pieces):
        for parent in map(identity, parents(piece)):
            if parent in length:
                length[parent] = max(length[parent], 1 + length[identity(piece)])
    return length
