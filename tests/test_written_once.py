"""A rule is written once: no two files of commands, clients, protocols or kinds of calls share equal lines."""

import ast
import keyword
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.source_tree import PACKAGE

pytestmark = pytest.mark.usefixtures("forgotten_trees")

ROOMS = (
    "cli",
    "client",
    "gateway",
    "peers",
    "protocols",
    *(
        f"_core/{room}"
        for room in (
            "client",
            "calls",
            "link",
            "streams",
            "server",
            "http",
            "exchange",
            "http1",
            "http2",
            "grpc",
            "rpcx",
            "native",
        )
    ),
)

# So many significant lines are a run: equal but for names, numbers and texts.
RUN = 8

# Pairs of files that may share runs, and why.
ALLOWED = {
    # Python's types have no generic class of classes: `Stream` and `SyncStream` need signatures of their own.
    ("client/blocking/stream_verbs.py", "peers/stream_verbs.py"),
}

_TEXT = re.compile(r'"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*')
_IMPORT = re.compile(r"(?:from|import|cimport)\b")
# A constant, a declaration without a value, an accessor of one attribute.
_CONSTANT = re.compile(r"[A-Z][A-Z_\d]* = -?\w+$")
_DECLARATION = re.compile(r"cdef (?!class)[^=(]*$")
_ACCESSOR = re.compile(r"return (?:bool\()?self\.[\w.]+\)?$")
_THIN = (_IMPORT, _CONSTANT, _DECLARATION, _ACCESSOR)
_WORD = re.compile(r"[^\W\d]\w*|\d[\w.]*|\S")
_KEPT = frozenset(keyword.kwlist) | {"cdef", "cpdef", "noexcept", "nogil", "self", "super"}


def without_texts(source: str) -> str:
    """Return a source without its comments, each text as `_`, with the same number of lines."""

    def blank(match: re.Match[str]) -> str:
        return "" if match[0].startswith("#") else "_" + "\n" * match[0].count("\n")

    return _TEXT.sub(blank, source)


def significant_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each logical line with a statement."""
    number, parts, depth = 0, list[str](), 0
    for at, line in enumerate(without_texts(path.read_text(encoding="utf-8")).splitlines(), 1):
        if not parts:
            number = at
        parts.append(line.strip())
        depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
        if depth > 0:
            continue
        text, parts, depth = " ".join(filter(None, parts)), [], 0
        is_code = re.search(r"[^\W_]", text) and not text.startswith(("@", "__all__"))
        if is_code and not any(thin.match(text) for thin in _THIN):
            yield number, text


def shape_of(lines: list[str]) -> str:
    """Return lines with each name, number and text replaced by the place of its first occurrence."""
    places: dict[str, int] = {}
    return "\n".join(
        " ".join(
            f"${places.setdefault(word, len(places))}"
            if word not in _KEPT and re.match(r"\w", word)
            else word
            for word in _WORD.findall(line)
        )
        for line in lines
    )


def shared_runs(paths: list[Path], run: int = RUN) -> dict[tuple[str, str], str]:
    """Return the first shared run of each two files: the number of the line where it begins in each."""
    runs: dict[str, list[tuple[Path, int]]] = defaultdict(list)
    for path in paths:
        lines = list(significant_lines(path))
        for start in range(len(lines) - run + 1):
            window = lines[start : start + run]
            runs[shape_of([text for _, text in window])].append((path, window[0][0]))
    found: dict[tuple[str, str], str] = {}
    for places in runs.values():
        for one, line in places:
            for other, other_line in places:
                names = str(one.relative_to(PACKAGE)), str(other.relative_to(PACKAGE))
                if names[0] < names[1]:
                    found.setdefault(names, f"{names[0]}:{line} ~ {names[1]}:{other_line}")
    return found


def sources_of_rooms() -> list[Path]:
    return sorted(
        path for room in ROOMS for path in (PACKAGE / room).rglob("*") if path.suffix in {".py", ".pyx"}
    )


def test_no_two_files_share_a_run_of_equal_lines() -> None:
    found = shared_runs(sources_of_rooms())
    assert [run for names, run in found.items() if names not in ALLOWED] == []
    assert found.keys() >= ALLOWED, "a pair on the list shares no run any more"


def test_a_repeated_run_of_lines_is_found_with_any_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    lines = [f"    total = total * {n} + weigh(part, {n})" for n in range(7)]
    one, other, third = (tmp_path / name for name in ("one.py", "other.pyx", "third.py"))
    one.write_text("\n".join(["def add(total, part):", *lines, "    return total"]))
    renamed = "\n".join(["def collect(amount, piece):", *lines, "    return total"])
    other.write_text(renamed.replace("total", "amount").replace("part", "piece").replace("weigh", "measured"))
    # One line less.
    third.write_text("\n".join(["def add(total, part):", *lines[1:]]))
    assert set(shared_runs([one, other, third])) == {("one.py", "other.pyx")}


def test_an_option_of_the_command_line_is_declared_once() -> None:
    declared: dict[str, list[str]] = defaultdict(list)
    for path in sorted((PACKAGE / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"typer.Option", "typer.Argument"}:
                declared[ast.unparse(node)].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert [places for places in declared.values() if len(places) > 1] == []


def test_limits_of_time_are_of_one_module() -> None:
    # A block under `asyncio.timeout` ends with CancelledError before CPython 3.11.4 if its task is being cancelled.
    limited = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if re.search(r"\basyncio\.timeout(_at)?\(", without_texts(path.read_text(encoding="utf-8")))
    ]
    assert limited == ["time_limit.py"]
