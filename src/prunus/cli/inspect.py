"""`prunus inspect`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prunus.cli.contents import layers_of, print_contents
from prunus.cli.options import Json
from prunus.cli.output import print_json


def inspect(packed: Annotated[Path, Parameter(help="a .prunus file")], *, json: Json = False) -> None:
    """What is in a .prunus file: each tensor's bytes on disk beside the bound that order-0 entropy sets."""
    from prunus.pack import inspect

    contents = inspect(packed)
    if json:
        print_json(
            {
                "version": contents.label.version,
                "model": contents.label.model,
                "metadata": dict(contents.label.metadata),
                "file_bytes": contents.file_bytes,
                "overhead_bytes": contents.overhead_bytes,
                "layers": layers_of(contents),
            }
        )
        return
    print_contents(f"{packed}: {contents.file_bytes:,} bytes, format version {contents.label.version}", contents)
    if contents.label.model:
        print(f"model: {contents.label.model}")
