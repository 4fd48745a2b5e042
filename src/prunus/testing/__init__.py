"""The contracts, executable: run these on a score, pattern, scope or codec of your own.

Each raises `AssertionError` with a sentence that names the broken promise.
"""

from prunus.testing.codec import check_codec
from prunus.testing.pattern import check_pattern
from prunus.testing.scope import check_scope
from prunus.testing.score import check_score

__all__ = ["check_codec", "check_pattern", "check_scope", "check_score"]
