"""Measure how wide the package is: methods of a class, names that classes share, private names read elsewhere."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.support.source_tree import PACKAGE, imports, named_imports, tree

__all__ = [
    "bases_of",
    "chain_of",
    "circles",
    "connected_groups",
    "foreign_underscores",
    "life_rules",
    "methods_of",
    "own_methods",
    "repeated_names",
    "shared_methods",
]

CORE = PACKAGE / "_core"

_CLASS = re.compile(r"^cdef class (?P<name>\w+)(?:\((?P<base>\w+)\))?:", re.MULTILINE)
_METHOD = re.compile(
    r"^    (?:cdef|cpdef|def|async def)\s(?!class\b)[^=(\n]*?(?P<name>\w+)\s*\(", re.MULTILINE
)
_FUNCTION = re.compile(
    r"^(?:cdef|cpdef|def|async def)\s(?!class\b)[^=(\n]*?(?P<name>\w+)\s*\(\s*(?P<class>\w+)\s+\w+",
    re.MULTILINE,
)
_TEXT = re.compile(r'"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*')
# The documented names of named tuples.
_NAMED_TUPLE = {"_asdict", "_fields", "_make", "_replace"}
# `call._state` and `self.call._state`, but neither `self._state` nor `fastrpc._core` nor a documented name.
_FOREIGN = re.compile(
    rf"\b(?!self\b|cls\b|fastrpc\b|os\._exit\b)\w+\.(?!(?:{'|'.join(_NAMED_TUPLE)})\b)_(?!_)\w+"
)


@cache
def _code(path: Path) -> str:
    """Return a Cython file without its texts and comments."""
    return _TEXT.sub("''", path.read_text(encoding="utf-8"))


def _core_files(*suffixes: str) -> list[Path]:
    return sorted(path for path in CORE.rglob("*") if path.suffix in suffixes)


@cache
def bases_of() -> Mapping[str, str | None]:
    """Return each compiled class with its base; a name stands for one class.

    A `.pyx` repeats no base that its `.pxd` has, and a class for its module alone is only in the `.pyx`.
    """
    return {
        match["name"]: match["base"]
        for suffix in (".pyx", ".pxd")
        for path in _core_files(suffix)
        for match in _CLASS.finditer(_code(path))
    }


@cache
def own_methods() -> Mapping[str, frozenset[str]]:
    """Return the methods of each compiled class: its own, and functions of a module that take it first.

    Special methods do not count, inline ones of a `.pxd` do.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for path in _core_files(".pxd", ".pyx"):
        code = _code(path)
        for match in _CLASS.finditer(code):
            rest = re.search(r"^\S", code[match.end() :], re.MULTILINE)
            body = code[match.end() :][: rest.start() if rest else None]
            found[match["name"]].update(method["name"] for method in _METHOD.finditer(body))
        for function in _FUNCTION.finditer(code):
            if function["class"] in bases_of():
                found[function["class"]].add(function["name"])
    return {name: frozenset(item for item in names if item[:2] != "__") for name, names in found.items()}


def chain_of(name: str) -> Iterator[str]:
    """Yield a compiled class and its bases, itself first."""
    found: str | None = name
    while found is not None and found in bases_of():
        yield found
        found = bases_of()[found]


def methods_of(name: str) -> frozenset[str]:
    """Return the methods of a compiled class and of its bases."""
    return frozenset().union(*(own_methods().get(part, frozenset()) for part in chain_of(name)))


def shared_methods(contract: str, least: int) -> dict[str, list[str]]:
    """Return the names of methods that several classes below a contract define, without the names of the contract."""
    places: dict[str, list[str]] = defaultdict(list)
    below = [name for name in bases_of() if contract in chain_of(name) and name != contract]
    for name in below:
        for method in own_methods().get(name, ()):
            if method not in own_methods()[contract]:
                places[method].append(name)
    return {method: sorted(names) for method, names in places.items() if len(names) >= least}


def foreign_underscores(paths: Iterable[Path]) -> Counter[Path]:
    """Count for each file the private names of other objects that it reads or writes.

    The documented names of named tuples, `os._exit` and methods of a base by `super()` do not count.
    """
    counts: Counter[Path] = Counter()
    for path in paths:
        counts[path] = (
            _foreign_in_python(path) if path.suffix == ".py" else len(_FOREIGN.findall(_code(path)))
        )
    return +counts


def _foreign_in_python(path: Path) -> int:
    return sum(
        isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in _NAMED_TUPLE
        and not _is_own(node)
        for node in ast.walk(tree(path))
    )


def _is_own(node: ast.Attribute) -> bool:
    """Return whether a private name is read from the object itself, from its bases, or is `os._exit`."""
    match node.value:
        case ast.Name(id="self" | "cls") | ast.Call(func=ast.Name(id="super")):
            return True
        case ast.Name(id="os"):
            return node.attr == "_exit"
    return False


def repeated_names() -> dict[str, list[str]]:
    """Return the names that several compiled modules have, with their rooms."""
    rooms: dict[str, list[str]] = defaultdict(list)
    for path in _core_files(".pyx"):
        rooms[path.stem].append(path.parent.name)
    return {name: found for name, found in rooms.items() if len(found) > 1}


def life_rules() -> list[str]:
    """Return the compiled modules that apply single rules of a connection's life, in an order of their own."""
    return [
        f"{path.parent.name}/{path.stem}"
        for path in _core_files(".pyx")
        if re.search(r"\blife\.check_\w+\(", _code(path))
    ]


def circles(files: Iterable[tuple[str, Path]], tables: Collection[str] = ()) -> list[list[str]]:
    """Return the groups of files that import each other, early, late or by texts that name modules, each sorted.

    Args:
        files: each with the name of its module.
        tables: the modules whose texts do not count.
    """
    graph: dict[str, set[str]] = defaultdict(set)
    for own, path in files:
        found = [item.module for item in imports(path)]
        if path.suffix == ".py" and own not in tables:
            found += [item.module for item in named_imports(path, own)]
        graph[own] |= set(found) - {own}
    return sorted(sorted(group) for group in connected_groups(graph) if len(group) > 1)


def connected_groups(graph: Mapping[str, set[str]]) -> Iterator[set[str]]:
    """Yield the strongly connected components of a graph (Kosaraju's algorithm, without recursion)."""
    order: list[str] = []
    seen: set[str] = set()
    for start in sorted(graph):
        _visit(graph, start, seen, order)
    reverse: dict[str, set[str]] = defaultdict(set)
    for node, targets in graph.items():
        for target in targets & graph.keys():
            reverse[target].add(node)
    taken: set[str] = set()
    for start in reversed(order):
        group: list[str] = []
        _visit(reverse, start, taken, group)
        if group:
            yield set(group)


def _visit(graph: Mapping[str, set[str]], start: str, seen: set[str], order: list[str]) -> None:
    """Append the unseen nodes that can be reached from `start`, each after the nodes that it reaches."""
    if start in seen:
        return
    seen.add(start)
    stack = [(start, iter(sorted(graph.get(start, ()))))]
    while stack:
        node, targets = stack[-1]
        following = next((target for target in targets if target not in seen), None)
        if following is None:
            stack.pop()
            order.append(node)
        else:
            seen.add(following)
            stack.append((following, iter(sorted(graph.get(following, ())))))
