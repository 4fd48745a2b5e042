"""The contents of a .prunus file as the table and the JSON list that several verbs show."""

from math import prod
from typing import TYPE_CHECKING, Any

from prunus.cli.output import percent, print_table

if TYPE_CHECKING:
    from prunus.pack import Contents

COLUMNS = ("tensor", "shape", "dtype", "density", "values", "bytes", "entropy bound", "bits/weight", "codec")


def layers_of(contents: "Contents") -> list[dict[str, Any]]:
    """A row a tensor, under the keys that every verb uses."""
    return [
        {
            "name": stored.name,
            "shape": list(stored.shape),
            "dtype": stored.dtype,
            "density": stored.kept / max(prod(stored.shape), 1),
            "distinct": stored.distinct,
            "bytes": stored.bytes,
            "entropy_bytes": stored.entropy_bytes,
            "bits_per_weight": 8 * stored.bytes / max(prod(stored.shape), 1),
            "codec": stored.codec,
        }
        for stored in contents.tensors
    ]


def print_contents(title: str, contents: "Contents") -> None:
    """The table: bytes really taken beside the order-0 bound, headers and table of contents in a row of their own."""
    rows = [
        (
            layer["name"],
            "x".join(map(str, layer["shape"])) or "scalar",
            layer["dtype"],
            percent(layer["density"]),
            f"{layer['distinct']:,}",
            f"{layer['bytes']:,}",
            f"{layer['entropy_bytes']:,}",
            f"{layer['bits_per_weight']:.3f}",
            layer["codec"],
        )
        for layer in layers_of(contents)
    ]
    rows.append(("(headers, names, checksums)", "", "", "", "", f"{contents.overhead_bytes:,}", "", "", ""))
    print_table(title, COLUMNS, rows)
