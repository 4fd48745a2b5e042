"""Joining a Ray cluster."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from prunus.errors import PrunusError


@contextmanager
def joined(address: str | None) -> Iterator[Any]:
    """The library Ray, connected to the cluster at `address`, or to one of its own on this machine.

    Without `address`, a connection that this process has already is used, and stays. Raises `PrunusError` where Ray
    is missing or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise PrunusError("this engine needs Ray: pip install 'prunus[ray]'.") from error
    if address is None and ray.is_initialized():
        yield ray
        return
    try:
        _knock(address or "")
        connection = ray.init(address, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        place = f"at '{address}'" if address else "on this machine"
        raise PrunusError(f"the Ray cluster {place} cannot be reached: {first_line(error)}.") from error
    with connection:
        yield ray


def first_line(error: Exception) -> str:
    """What `error` says, without the pages that Ray appends."""
    return str(error).partition("\n")[0].rstrip(".")


def _knock(address: str) -> None:
    """Raise `OSError` where nobody listens at `address`: Ray itself would try for minutes, and then end the process."""
    place = urlsplit(f"//{address.rpartition('://')[2]}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), timeout=10).close()
