"""Lottery tickets: found, controlled, changed, connected."""

from prunus.ticket.connect import Path, connect, interpolated
from prunus.ticket.find import Rewind, Ticket, Train, find, fine_tuning, learning_rate, to_start

__all__ = [
    "Path",
    "Rewind",
    "Ticket",
    "Train",
    "connect",
    "find",
    "fine_tuning",
    "interpolated",
    "learning_rate",
    "to_start",
]
