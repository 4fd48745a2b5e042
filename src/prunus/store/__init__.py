"""Where experiments live: every piece of one under the hash of all that decides it, with its parents."""

from prunus.store.folder import Bench, Outcome, Piece, Store, opened
from prunus.store.identity import identity, specification

__all__ = ["Bench", "Outcome", "Piece", "Store", "identity", "opened", "specification"]
