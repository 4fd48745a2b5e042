"""Early-Bird tickets: which channels are worth keeping is settled long before training ends.

Source: You et al. 2020, "Drawing early-bird tickets"; a channel's worth is the scale that BatchNorm gives it, as in
`prunus.structured.slimming`.
"""

from collections import deque
from typing import Any

from torch import nn

from prunus.errors import PrunusError
from prunus.mask import Mask, check_density
from prunus.structured.slimming import largest, scales


class EarlyBird:
    """Tells when the channels to keep have stopped changing: call `update` once an epoch.

    The channels kept are the `density` of all with the largest BatchNorm scales |gamma|. The ticket is there once the
    last `window` masks are in hand and the newest differs from none of the others in more than `threshold` of all
    channels. Its state may be part of a checkpoint.

    Idea: which channels matter shows in a few epochs, long before their weights have settled; so the rest of the
    training can be that of the small network.
    Formula: the masks of the last `window` epochs keep the largest |gamma| of all layers; the ticket is drawn where the
    newest is at most `threshold` from each of the others, in parts of all channels that differ.
    Source: You et al. 2020, "Drawing early-bird tickets: towards more efficient training of deep networks", section 3.
    Use: while a network with BatchNorm trains, with a penalty on its scales (`structured.slimming.penalty`); then
    `structured.keep_channels`, `shrink`, and train on.
    Cost: a sort of the scales each epoch.

    >>> model, early_bird = nn.BatchNorm1d(4), EarlyBird(0.5, window=3)
    >>> [early_bird.update(model) for _ in range(3)]
    [False, False, True]
    """

    def __init__(self, density: float, *, window: int = 5, threshold: float = 0.1) -> None:
        check_density(density)
        if window < 2:
            raise PrunusError(f"a window has two masks at least, found {window}.")
        if not 0 <= threshold <= 1:
            raise PrunusError(f"threshold {threshold} is outside [0, 1].")
        self.density, self.window, self.threshold = density, window, threshold
        self._masks: deque[Mask] = deque(maxlen=window)

    def update(self, model: nn.Module) -> bool:
        """Draw the mask of this epoch, and say whether it is the ticket.

        Raises `PrunusError` for a model without BatchNorm scales.
        """
        self._masks.append(largest(scales(model), self.density).to("cpu"))
        return len(self._masks) == self.window and max(self.distances) <= self.threshold

    @property
    def mask(self) -> Mask:
        """The newest mask: BatchNorm weight names to kept channels, bool (channels,), on the CPU."""
        if not self._masks:
            raise PrunusError("there is no mask before the first update.")
        return self._masks[-1]

    @property
    def distances(self) -> list[float]:
        """The parts of all channels in which the newest mask differs from the others in the window, oldest first."""
        return [self.mask.distance(older) for older in list(self._masks)[:-1]]

    def state_dict(self) -> dict[str, Any]:
        """The masks of the window."""
        return {"masks": [dict(mask) for mask in self._masks]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the masks that `state_dict` gave."""
        self._masks = deque(map(Mask, state["masks"]), maxlen=self.window)
