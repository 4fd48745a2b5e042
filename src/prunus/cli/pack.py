"""`prunus pack`."""

import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from prunus.cli.contents import layers_of, print_contents
from prunus.cli.options import Json
from prunus.cli.output import check_output, print_json


def pack(
    weights: Annotated[Path, Parameter(help=".safetensors or .pt/.pth/.th (tensors only)")],
    output: Annotated[Path, Parameter(help="the .prunus file to write, whole or not at all")],
    *,
    effort: Annotated[Literal["fast", "best"], Parameter(help="best: smallest; fast: quickest")] = "best",
    json: Json = False,
) -> None:
    """Pack a checkpoint without loss: every value comes back bit for bit.

    Of a network that was drawn and masked, like those of `prunus supermask`, a seed and the mask are kept.
    """
    from prunus.checkpoint import DRAWN, read_drawn, read_metadata, read_weights
    from prunus.pack import write

    started = time.monotonic()
    check_output(output, ".prunus")
    metadata = read_metadata(weights)
    model, drawn = metadata.pop("model", None), read_drawn(weights)
    metadata.pop(DRAWN, None)  # the file says it in its own way
    contents = write(output, read_weights(weights), effort=effort, drawn=drawn, model=model, metadata=metadata)
    seconds = time.monotonic() - started
    before, after = weights.stat().st_size, output.stat().st_size
    if json:
        print_json(
            {
                "file_bytes": after,
                "input_bytes": before,
                "ratio": before / after,
                "seconds": seconds,
                "layers": layers_of(contents),
            }
        )
        return
    print_contents(f"{output}: {after:,} bytes, {before / after:.1f}x smaller than {weights}", contents)
