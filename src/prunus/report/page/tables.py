"""A plain table: the section of the page for any other study."""

from prunus.errors import FormatError
from prunus.report.page.archive import Archive, Value
from prunus.report.page.content import Cell, Section, Table
from prunus.report.page.wording import number


def table(study: Value, archive: Archive) -> Section:
    """What a study of the kind "table" holds: cells are text, numbers, or means with their spread and runs."""
    columns = tuple(Cell(column.text()) for column in study["columns"])
    rows = tuple(tuple(_cell(cell, archive) for cell in row) for row in study["rows"])
    for place, row in enumerate(rows):
        if len(row) != len(columns):
            raise FormatError(f"{study.place}: row {place} has {len(row)} cells for {len(columns)} columns.")
    return Section(
        kind="Table",
        title=study["title"].text(),
        lead=study["note"].text() if "note" in study else "",
        tables=(Table(columns, rows),),
    )


def _cell(found: Value, archive: Archive) -> Cell:
    if isinstance(found.plain, str):
        return Cell(found.text())
    if "mean" in found:
        runs = archive.runs(found["runs"])
        return Cell(f"{number(found['mean'].number())} ± {number(found['spread'].number())}", runs)
    return Cell(number(found.number()))
