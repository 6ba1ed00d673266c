"""Names that lead nowhere: cimports that are not used, and modules in prose that do not exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.prose import paragraphs_of
from tests.support.ranks import CORE_RANKS, RANKS
from tests.support.source_tree import PACKAGE, ROOT, sources, unused_imports

pytestmark = pytest.mark.usefixtures("forgotten_trees")

CORE = PACKAGE / "_core"
CYTHON = sources(".pyx", ".pxd")
#: The rules of these files are about names that do not exist.
OWN = {Path(__file__), ROOT / "tests" / "test_plain_english.py"}
PROSE = [
    path
    for path in [
        *sources(".py", ".pyi", ".pyx", ".pxd", ".h"),
        *ROOT.glob("*.md"),
        *ROOT.glob("bench/*.md"),
        *ROOT.glob("ci/*.md"),
        *ROOT.glob("docs/**/*.md"),
    ]
    if path not in OWN
]

#: The folders of the package, and the names that rooms had.
FOLDERS = {path.name for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__"}
FORMER = {"calling", "framing", "serving"}
#: A module that builds make, units, media types and the like, methods of MCP, keys of registries.
NO_PATHS = re.compile(
    r"_core/_shared|calls/s|http/(1|protobuf)|server/discover|link/deep|rpcx/[Aa]rith/.*"
    r"|auth/(authenticate|enable|(user|role)/.*)"
)
#: A module that builds make, one that a test makes up, and a method of a service.
NO_MODULES = {"_core._shared", "_core.a", "relay.claim"}
#: Folders that are modules of Python's own library, variables, or hosts, where a dot follows.
NO_ROOMS = {"client", "go", "http", "loop", "relay", "rpc", "server", "tls", "wire"}

SUFFIXES = ("", ".py", ".pyx", ".pxd", ".pyi", ".h")
_PATH = re.compile(r"(?<![\w/.:@*{<=&?-])([a-z_]\w*)/((?:\w+/)*\w*)(\.(?:pyx|pxd|pyi|py|h)\b)?(?![\w/*{<])")
_DOTTED = re.compile(r"(?<=`)([a-z_]\w*)((?:\.[a-z_]\w*)+)(?=`)")
_MODULE = re.compile(r"(?<![\w./@-])fastrpc((?:\.[a-z_]\w*)+)")


def lies_in(base: Path, place: str) -> bool:
    """Return whether a folder has a file or folder, whose suffix may be left out."""
    return any((base / f"{place}{suffix}").exists() for suffix in SUFFIXES)


def leads_somewhere(place: str, path: Path) -> bool:
    """Return whether a file's prose names an existing path: below the package, core or project, or next to it."""
    beside = [parent for parent in path.parents if parent == ROOT or ROOT in parent.parents]
    return any(lies_in(base, place) for base in (PACKAGE, CORE, ROOT / "tests", *beside))


def wrong_paths(text: str, path: Path) -> Iterator[str]:
    """Yield the paths that begin with a folder of the package, or with a former one, and lead nowhere."""
    for first, rest, suffix in _PATH.findall(text):
        place = f"{first}/{rest}{suffix}"
        if first not in FOLDERS | FORMER or NO_PATHS.fullmatch(place):
            continue
        if not leads_somewhere(place.rstrip("/"), path):
            yield place


def wrong_modules(text: str, path: Path) -> Iterator[str]:
    """Yield the dotted names that begin with a folder of the package, or a former one, and name nothing in it."""
    for first, rest in _DOTTED.findall(text):
        if first not in (FOLDERS | FORMER) - NO_ROOMS or rest in SUFFIXES:
            continue
        parts = [first, *rest[1:].split(".")]
        # The last part may be a name in a module.
        if not any(leads_somewhere("/".join(part), path) for part in (parts, parts[:-1]) if len(part) > 1):
            yield f"{first}{rest}"
    for match in _MODULE.finditer(text):
        name = match[1][1:]
        first, *others = name.split(".")
        is_stale = first in FORMER or (
            others and (PACKAGE / first).is_dir() and not is_inside(first, others[0])
        )
        if is_stale and name not in NO_MODULES:
            yield f"fastrpc.{name}"


def is_inside(folder: str, name: str) -> bool:
    """Return whether a folder of the package has a module, a folder or a name."""
    if lies_in(PACKAGE / folder, name):
        return True
    text = (PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")
    return re.search(rf"\b{name}\b", text) is not None


def wrong_in(path: Path) -> list[tuple[int, str]]:
    return [
        (paragraph.line, name)
        for paragraph in paragraphs_of(path)
        for name in [*wrong_paths(paragraph.text, path), *wrong_modules(paragraph.text, path)]
    ]


def test_every_cimport_is_used() -> None:
    assert {str(path.relative_to(ROOT)): names for path in CYTHON if (names := unused_imports(path))} == {}


def test_modules_named_in_prose_exist() -> None:
    assert {str(path.relative_to(ROOT)): found for path in PROSE if (found := wrong_in(path))} == {}


def test_architecture_lists_the_ranks() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| ([^|]*) \|", text, re.MULTILINE))
    assert {int(rank): set(re.findall(r"`(\w+)`", row)) for rank, row in rows.items()} == {
        rank: set(parts) for rank, parts in RANKS.items()
    }
    (rooms,) = re.findall(r"of `_core` have ranks, too, from low to high: ([^.]*)\.", text)
    assert [set(re.findall(r"`(\w+)`", rank)) for rank in rooms.split("·")] == [
        set(rooms) for _, rooms in sorted(CORE_RANKS.items())
    ]


@pytest.mark.parametrize(
    ("text", "unused"),
    [
        ("from a cimport b, c as d\n\ncdef int of(b x) except -1:\n    return d(x)\n", []),
        ("from a cimport b, c as d\n\ncdef int of(b x) except -1:\n    return c(x)\n", ["d"]),
        ("from a cimport (\n    b,  # b is here\n    c,\n)\nx: c\n", ["b"]),
        ('from a cimport b, c\n\n\ndef of():\n    """Use b."""\n    return f"{c()}"  # b\n', ["b"]),
        ("cimport cython\nimport a.b\nimport c.d as e\n\n@cython.final\ncdef class F: pass\n", ["a", "e"]),
    ],
)
def test_unused_imports_are_found(tmp_path: Path, text: str, unused: list[str]) -> None:
    path = tmp_path / "a.pyx"
    path.write_text(text, encoding="utf-8")
    assert unused_imports(path) == unused


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("# See `_core/serving/gate` and `server/gate`.\n", ["_core/serving/gate"]),
        ("# It lies in `calling/`, above `client/`, at 5 calls/s, in application/json.\n", ["calling/"]),
        ("# serving/dispatcher.py became handlers/dispatcher.py\n", ["serving/dispatcher.py"]),
        (
            "# `serving.call_limits`, not `limiting.limiters`, nor `client.call` or `base.py`\n",
            ["serving.call_limits"],
        ),
        ("# fastrpc.serving.x, fastrpc.client.dispatcher; fastrpc.client.pool.Pool, fastrpc.access\n", None),
        ("name = 'server/nothing.pyx'\n", ["server/nothing.pyx"]),
    ],
)
def test_wrong_names_are_found(tmp_path: Path, text: str, wrong: list[str] | None) -> None:
    path = tmp_path / "a.py"
    path.write_text(text, encoding="utf-8")
    expected = wrong if wrong is not None else ["fastrpc.serving.x", "fastrpc.client.dispatcher"]
    assert [name for _, name in wrong_in(path)] == expected
