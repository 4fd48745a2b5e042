"""`prunus unpack`."""

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prunus.cli.options import Json
from prunus.cli.output import check_output, print_json


def unpack(
    packed: Annotated[Path, Parameter(help="a .prunus file")],
    output: Annotated[Path, Parameter(help="the .safetensors file to write, whole or not at all")],
    *,
    json: Json = False,
) -> None:
    """Write the tensors of a .prunus file as .safetensors, bit for bit what was packed."""
    from prunus.checkpoint import drawn_metadata, write_weights
    from prunus.pack import drawn, peek, read

    started = time.monotonic()
    check_output(output, ".safetensors")
    label = peek(packed)
    metadata = dict(label.metadata) | ({"model": label.model} if label.model else {})
    metadata |= drawn_metadata(drawn(packed))
    write_weights(output, read(packed), metadata=metadata)
    seconds = time.monotonic() - started
    if json:
        print_json({"file_bytes": output.stat().st_size, "input_bytes": packed.stat().st_size, "seconds": seconds})
    else:
        print(f"{output}: {output.stat().st_size:,} bytes from {packed.stat().st_size:,}, {seconds:.2f} s")
