"""The command line: `prunus VERB ...`, one file a verb; a verb only calls public names.

Nothing heavy is imported here or at the top of a verb's file: `--help` answers at once.
"""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from prunus import __version__
from prunus.cli.approximate import approximate
from prunus.cli.bench import bench
from prunus.cli.compare import compare
from prunus.cli.compress import compress
from prunus.cli.connect import connect
from prunus.cli.demo import demo
from prunus.cli.evaluate import evaluate
from prunus.cli.inspect import inspect
from prunus.cli.lineage import lineage
from prunus.cli.pack import pack
from prunus.cli.prune import prune
from prunus.cli.report import report
from prunus.cli.supermask import supermask
from prunus.cli.ticket import ticket
from prunus.cli.train import train
from prunus.cli.unpack import unpack
from prunus.errors import PrunusError

app = App(
    name="prunus",
    help="Find the small network inside a big one, show that it holds, ship it as a small file.",
    version=f"prunus {__version__}",
)
for verb in (
    demo,
    train,
    evaluate,
    prune,
    compress,
    pack,
    unpack,
    inspect,
    bench,
    supermask,
    ticket,
    compare,
    connect,
    approximate,
    lineage,
    report,
):
    app.command(verb)


def main() -> None:
    """The console script: exits 0 when all went well, 2 with one sentence for bad input, 130 on Ctrl-C."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command line `arguments`; the exit code."""
    try:
        app(list(arguments), exit_on_error=False, result_action="return_none")
    except CycloptsError:
        return 2  # cyclopts has said what is wrong
    except (PrunusError, OSError) as error:
        print(f"prunus: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def sentence(error: Exception) -> str:
    """One line for a person: an operating system's error as `path: reason`."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}."
    return str(error)
