"""`prunus report`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prunus.cli.options import Json, Out
from prunus.cli.output import check_output, print_json


def report(
    store: Annotated[Path, Parameter(help="the folder that experiments were kept in")],
    *,
    output: Out,
    json: Json = False,
) -> None:
    """One HTML page of everything in a store: plots with their controls, mask pictures, the lineage; opens offline."""
    from prunus.report.page import write_page
    from prunus.store import opened

    found = opened(store)
    check_output(output, ".html")
    write_page(found, output)
    studies, runs, size = len(found.studies()), len(found.runs()), output.stat().st_size
    if json:
        print_json({"store": str(store), "studies": studies, "runs": runs, "file_bytes": size})
        return
    print(f"{output}: {runs:,} runs of {store}, studies: {studies:,}; {size:,} bytes")
