"""Named data sets and folders in hub layout, as tensors with a fixed validation part and a test part kept
apart."""

from prunus.data.dataset import Data, Split
from prunus.data.named import NAMES, load

__all__ = ["NAMES", "Data", "Split", "load"]
