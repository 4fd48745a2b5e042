"""What a reader is willing to decode: sizes that a file declares are checked before anything is allocated."""

from dataclasses import dataclass

from prunus.errors import FormatError


@dataclass(frozen=True)
class Limits:
    """The largest file content to accept; the defaults let every honest network through.

    `max_bytes`: decoded size in all. `max_ratio`: decoded over file size, for contents above `free_bytes`
    (a file of a few hundred bytes that declares a terabyte of zeros is an attack, not a network).
    """

    max_bytes: int = 1 << 40
    max_tensors: int = 1 << 17
    max_ratio: int = 1000
    free_bytes: int = 1 << 30

    def check(self, decoded_bytes: int, file_bytes: int, tensors: int) -> None:
        """FormatError when a file declares more than these limits allow."""
        if tensors > self.max_tensors:
            raise FormatError(f"the file declares {tensors:,} tensors, more than the limit of {self.max_tensors:,}.")
        if decoded_bytes > self.max_bytes:
            raise FormatError(f"the file declares {decoded_bytes:,} bytes, more than the limit of {self.max_bytes:,}.")
        if decoded_bytes > max(self.free_bytes, self.max_ratio * file_bytes):
            raise FormatError(
                f"a file of {file_bytes:,} bytes declares {decoded_bytes:,}; where that is meant, "
                f"read with Limits(free_bytes={decoded_bytes})."
            )
