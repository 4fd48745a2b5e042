"""A really smaller network: units and channels that do nothing are taken out, and what it computes stays.

`reading` follows channels and constants forwards through the network, `need` goes backwards from its output and finds
the channels that matter, `layers` are cut to these by `resizing`, and `network` checks the result. `wiring` tells
beforehand which weights make and read a channel.
"""

from prunus.shrinking.network import shrink
from prunus.shrinking.resizing import shrink_to_fit
from prunus.shrinking.wiring import Wiring, alone, spread, wiring

__all__ = ["Wiring", "alone", "shrink", "shrink_to_fit", "spread", "wiring"]
