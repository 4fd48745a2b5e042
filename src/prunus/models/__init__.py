"""Named networks, and other people's: `build` makes one, `describe` says briefly how to make it again."""

from prunus.models.build import NAMES, build
from prunus.models.description import Description, describe, from_description

__all__ = ["NAMES", "Description", "build", "describe", "from_description"]
