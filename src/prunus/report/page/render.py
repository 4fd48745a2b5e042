"""The page as text: all sections, the tree of runs, and everything a browser needs, in one file."""

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from prunus.errors import PrunusError
from prunus.files import written_whole
from prunus.report.page.archive import Archive, Value
from prunus.report.page.charts import charts
from prunus.report.page.connections import connection
from prunus.report.page.content import Section
from prunus.report.page.tables import table
from prunus.report.page.tickets import tickets
from prunus.report.page.wording import several
from prunus.store import Store
from prunus.store.lineage import drawn

if TYPE_CHECKING:
    from jinja2 import Template

_SECTIONS = {"tickets": tickets, "connection": connection, "charts": charts, "table": table}
_LINE = re.compile(r"(?P<before>[| \\]*\* )(?P<run>[0-9a-f]+)(?P<after>.*)", re.DOTALL)
_LONG = 60  # lines of lineage that are folded away
_SHORT = 40  # characters of a setting that tells studies apart


def write_page(store: Store, path: str | os.PathLike[str]) -> None:
    """Write the page about `store` to `path`, whole or not at all; raises what `render` raises, and `OSError`."""
    page = render(store)
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render(store: Store) -> str:
    """The page about `store`: HTML that opens offline and asks for nothing; the same store gives the same page.

    Raises `PrunusError` for a store without runs and where plotly or Jinja is missing; `FormatError`, naming study
    or run, where a value in the store is not what it should be.
    """
    template, plotly = _libraries()
    archive = Archive(store)
    if not len(archive):
        raise PrunusError(f"the store {store.path} holds no finished run, so there is nothing to show.")
    studies = [_named(study) for study in store.studies()]
    sections = [
        describe(study, archive) for known, describe in _SECTIONS.items() for kind, study in studies if kind == known
    ]
    lineage = [_split(line) for line in drawn(archive.roots)]
    script = _own("page.js")
    return template.render(
        name=store.path.resolve().name,
        policy=_policy([plotly, script]),
        style=_own("page.css"),
        plotly=plotly,
        script=script,
        facts=_facts(archive, len(studies)),
        sections=[(f"study-{number}", section) for number, section in enumerate(_told_apart(sections), 1)],
        skipped=sorted(kind for kind, _ in studies if kind not in _SECTIONS),
        lineage=lineage,
        folded=len(lineage) > _LONG,
    )


def _libraries() -> tuple["Template", str]:
    """The template, and the text of plotly.js."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise PrunusError("the page needs plotly and Jinja: pip install 'prunus[lab]'.") from error
    environment = Environment(
        loader=PackageLoader("prunus.report", "page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template("page.html"), get_plotlyjs()


def _own(name: str) -> str:
    return files("prunus.report.page").joinpath(name).read_text(encoding="utf-8")


def _policy(scripts: Iterable[str]) -> str:
    """What the browser may do: run these scripts and no other, and load nothing."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    closed = "default-src 'none'; base-uri 'none'; form-action 'none'"
    return f"{closed}; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


def _named(study: dict[str, Any]) -> tuple[str, Value]:
    """The kind of a study, and the study."""
    kind = Value(study, "a study")["kind"].text()
    return kind, Value(study, f"{kind} study {study.get('title')!r}")


def _facts(archive: Archive, studies: int) -> list[tuple[str, str]]:
    return [
        ("holds", f"{'1 study' if studies == 1 else f'{studies:,} studies'}, {several(len(archive), 'run')}"),
        ("newest run", f"{archive.newest():%Y-%m-%d %H:%M} UTC"),
        ("made with", ", ".join(archive.versions())),
    ]


def _told_apart(sections: Sequence[Section]) -> Iterator[Section]:
    """The sections; those that share a title say in which settings they differ, where that is short."""
    for section in sections:
        twins = [
            dict(other.settings) for other in sections if (other.kind, other.title) == (section.kind, section.title)
        ]
        differing = (
            f"{name}: {value}"
            for name, value in section.settings
            if len({twin.get(name) for twin in twins}) > 1 and len(value) <= _SHORT
        )
        yield replace(section, apart="; ".join(differing))


def _split(line: str) -> tuple[str, str, str]:
    """A line of the lineage around its run; a line between branches has none."""
    found = _LINE.fullmatch(line)
    return (found["before"], found["run"], found["after"]) if found else (line, "", "")
