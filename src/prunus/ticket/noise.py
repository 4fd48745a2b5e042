"""Randomness of experiments: every purpose has a generator of its own, and the caller's is left alone."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def generator_for(seed: int, purpose: str) -> torch.Generator:
    """A generator that depends on the seed and the purpose, unrelated to those of all others."""
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@contextmanager
def quiet() -> Iterator[None]:
    """torch's own random state: always the same inside, the caller's again afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
