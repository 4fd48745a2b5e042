"""How much code a method is, which files and functions are the largest, and whether imports go down the layers only.

    python benchmarks/code_size.py

Lines are those with code: no blank lines, no comments, no docstrings. Methods are those of docs/methods.md. Of each:
the function or class itself; that with every function and class that it leads to within its own part of the library,
as `prunus.layerwise` is one; the same of what measures the evidence that parameters name, as gradients or grams; and
the file it is in, which may hold others. What it uses of other parts, as a mask, a pattern or a product, is in no
column, nor is what all methods over training have in common. Writes results/code-size.json.
"""

import ast
import inspect
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from experiment import print_table
from machine import keep
from prunus.imported import imported

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
MOST = 10
MEASURES, EVIDENCE = "prunus.measures", ("prunus.evidence", "prunus.curvature", "prunus.inputs")
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Method:
    """Lines of a method itself, with what it leads to in its part, of what measures its evidence, and of its file."""

    name: str
    own: int
    with_helpers: int
    measuring: int
    file: int
    path: str


def main() -> None:
    methods = sorted(found_methods(), key=lambda method: method.name)
    files = {str(path.relative_to(ROOT)): len(lines(path)) for path in sorted(SOURCE.rglob("*.py"))}
    functions: dict[str, int] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = length(path, node)
    print_table(
        ["method", "itself", "with helpers", "and what it measures", "its file"],
        [
            [f"`{one.name}`", *(str(count or "") for count in (one.own, one.with_helpers, one.measuring, one.file))]
            for one in methods
        ],
    )
    largest, longest = most(files), most(functions)
    print_table(["largest files", "lines"], [[f"`{name}`", str(size)] for name, size in largest.items()])
    print_table(["longest functions", "lines"], [[f"`{name}`", str(size)] for name, size in longest.items()])
    contracts = imports()
    summary = {
        "files": len(files),
        "lines": sum(files.values()),
        "median file": median(files.values()),
        "median function": median(functions.values()),
        "median method, all but its file": median(one.with_helpers + one.measuring for one in methods),
        "imports": contracts,
    }
    for name, value in summary.items():
        print(f"- {name}: {value:,}" if isinstance(value, int) else f"- {name}: {value}")
    rows = [asdict(method) for method in methods]
    keep("code-size", {**summary, "methods": rows, "largest files": largest, "longest functions": longest})


def most(sizes: dict[str, int]) -> dict[str, int]:
    return dict(sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST])


def found_methods() -> Iterator[Method]:
    page = str(ROOT / "docs" / "methods.py")
    parts, methods = imported("page", f"{page}:PARTS"), imported("page", f"{page}:methods")
    for part in parts:
        for name, found in methods(import_module(part)):
            path = Path(import_module(found.__module__).__file__ or "")
            node = definitions(path)[found.__name__]
            yield Method(
                name,
                length(path, node),
                helped((part,), [(found.__module__, found.__name__)]),
                helped(EVIDENCE, [(MEASURES, asked) for asked in asked_for(found)]),
                len(lines(path)),
                str(path.relative_to(ROOT)),
            )


def asked_for(found: Any) -> list[str]:
    """The functions that measure what the parameters of `found` name."""
    names = inspect.signature(found).parameters
    asked = {known for name in names for known in (name, f"input_{name}", f"{name}_hessian")}
    return sorted(asked & vars(import_module(MEASURES)).keys())


def helped(parts: Sequence[str], waiting: list[tuple[str, str]]) -> int:
    """Lines of what is defined in `parts` of the (module, name) that wait, and of what that leads to, each once."""
    counted, seen = 0, set[tuple[str, str]]()
    while waiting:
        module, name = place = waiting.pop()
        if place in seen or not module.startswith("prunus"):
            continue
        seen.add(place)
        path = Path(import_module(module).__file__ or "")
        if name in taken_over(path):
            waiting.append(taken_over(path)[name])
        elif name in definitions(path) and any(f"{module}.".startswith(f"{part}.") for part in parts):
            node = definitions(path)[name]
            counted += length(path, node)
            waiting += [(module, one.id) for one in ast.walk(node) if isinstance(one, ast.Name)]
    return counted


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def definitions(path: Path) -> dict[str, ast.stmt]:
    """Functions, classes and constants of a file, not those inside others."""
    found: dict[str, ast.stmt] = {}
    for node in tree(path).body:
        if isinstance(node, Definition):
            found[node.name] = node
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            found.update({one.id: node for one in ast.walk(target or node) if target and isinstance(one, ast.Name)})
    return found


@cache
def taken_over(path: Path) -> dict[str, tuple[str, str]]:
    """What a file imports by name: the module, and the name there."""
    found = [node for node in tree(path).body if isinstance(node, ast.ImportFrom)]
    return {one.asname or one.name: (node.module or "", one.name) for node in found for one in node.names}


def length(path: Path, node: ast.stmt) -> int:
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return len(lines(path) & set(range(first, (node.end_lineno or first) + 1)))


@cache
def lines(path: Path) -> frozenset[int]:
    """The numbers of a file's lines with code."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type not in LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Module | Definition) and ast.get_docstring(node, clean=False) is not None:
            code.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return frozenset(code)


def imports() -> str:
    """What import-linter says of the contracts in pyproject.toml."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return next((line for line in told.splitlines() if line.startswith("Contracts:")), told.strip() or "not checked")


if __name__ == "__main__":
    main()
