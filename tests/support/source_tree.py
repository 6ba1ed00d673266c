"""Read the project's own sources: its files, their imports and their functions, in Python and Cython."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "PACKAGE",
    "ROOT",
    "Function",
    "Import",
    "c_function_headers",
    "functions",
    "imports",
    "module_name",
    "named_imports",
    "returns_object",
    "sources",
    "tree",
    "unused_imports",
]

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "fastrpc"

_FOLDERS = ("src", "tests", "bench", "ci")

# Strings and comments, which must not be taken for code. Docstrings keep a mark on each of their lines.
_TEXT = re.compile(r'"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*')
_DOCSTRING_MARK = "\0"

# A module, and perhaps an attribute of it.
_NAMED = re.compile(r"(fastrpc(?:\.\w+)+)(:\w+)?")

_HEADER = re.compile(
    r"^(?P<indent> *)(?:async def|def|cpdef|cdef)\s(?!class\b|extern\b)[^=(]*?(?P<name>\w+)\s*\("
)
_IMPORT_FROM = re.compile(r"^( *)from\s+([\w.]+)\s+c?import\s+(\([^)]*\)|[^\n]*)", re.MULTILINE)
_IMPORT = re.compile(r"^( *)c?import\s+([^\n]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Import:
    """One import or cimport of a module; `deferred` ones run later than the module that holds them."""

    module: str
    line: int
    deferred: bool


@dataclass(frozen=True, slots=True)
class Function:
    """One function: where it is, its lines without its docstring, its parameters without `self` and `cls`."""

    name: str
    line: int
    lines: int
    parameters: tuple[str, ...]


def sources(*suffixes: str) -> list[Path]:
    """Return the project's files that end so, in order."""
    return [path for path in _files() if path.suffix in suffixes]


@cache
def _files() -> list[Path]:
    """Return all files of the project's folders, in order, looked for once a process."""
    found = [path for folder in _FOLDERS for path in (ROOT / folder).rglob("*")]
    return sorted(path for path in found if not {"results", "__pycache__"} & set(path.parts))


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file or stub."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    """Return the dotted name under which a file of the package is imported."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> list[Import]:
    """Return the imports of a file of the package, as modules of the package if they are some."""
    found = _python_imports(path) if path.suffix in {".py", ".pyi"} else _cython_imports(path)
    return sorted(found, key=lambda item: item.line)


@cache
def named_imports(path: Path, own: str) -> list[Import]:
    """Return the modules of the package that a Python file names in texts, to import them later.

    A text names a module by three parts or more, as `module:attribute`, as the begin of a formatted text, or as an
    argument of `import_module`. Other names of two parts are loggers.

    Args:
        own: the dotted name of the file, for `__name__`, `__package__` and relative names.
    """
    package = own if path.name == "__init__.py" else own.rpartition(".")[0]
    known = {"__name__": own, "__package__": package}
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and re.search(r"\b(import_module|__import__)$", ast.unparse(node.func)):
            name, *anchor = (_known_text(argument, known) for argument in node.args)
            text, parts = _absolute(name, anchor[0] if anchor else package), 2
        elif isinstance(node, ast.Constant | ast.JoinedStr):
            text, parts = _known_text(node, known), 2 if isinstance(node, ast.JoinedStr) else 3
        else:
            continue
        named = _NAMED.fullmatch(text.rstrip("."))
        if named and (named[2] or named[1].count(".") + 1 >= parts) and _is_module(named[1]):
            found.add(Import(named[1], node.lineno, deferred=True))
    return sorted(found, key=lambda item: (item.line, item.module))


def _known_text(node: ast.expr, known: dict[str, str]) -> str:
    """Return the text of a literal, up to the first part of a formatted one that is not known."""
    text = ""
    for part in node.values if isinstance(node, ast.JoinedStr) else [node]:
        value = part.value if isinstance(part, ast.Constant | ast.FormattedValue) else part
        if isinstance(value, ast.Name):
            value = known.get(value.id)
        if not isinstance(value, str):
            break
        text += value
    return text


def _absolute(name: str, package: str) -> str:
    """Return the full name of a module that may be named relative to a package."""
    rest = name.lstrip(".")
    parts = package.split(".")
    return name if rest == name else ".".join([*parts[: len(parts) + 1 - (len(name) - len(rest))], rest])


def unused_imports(path: Path) -> list[str]:
    """Return the names that a Cython file imports or cimports and does not use, in their order."""
    code = _code(path, keeps_formatted=True)
    names = []
    for match in _IMPORT_FROM.finditer(code):
        names += [
            item.split()[-1] for item in match[3].strip("()").replace("#", " ").split(",") if item.split()
        ]
    for match in _IMPORT.finditer(code):
        for item in match[2].split("#")[0].split(","):
            first, *alias = item.split()
            names.append(alias[-1] if alias else first.partition(".")[0])
    rest = _IMPORT.sub("", _IMPORT_FROM.sub("", code))
    return [name for name in names if not re.search(rf"\b{name}\b", rest)]


@cache
def functions(path: Path) -> list[Function]:
    """Return the functions that have a body in a Python or Cython file."""
    lines = _code(path).split("\n")
    return [found for number in range(len(lines)) if (found := _function_at(lines, number))]


@cache
def c_function_headers(path: Path) -> list[tuple[int, str]]:
    """Return line and text of each header of a C function, with a body or declared."""
    header = re.compile(
        r"^ *c(?:p)?def\s(?!class\b|extern\b)[^=(\n]*?\w+\s*\([^()]*(?:\([^()]*\)[^()]*)*\)[^\n]*",
        re.MULTILINE,
    )
    text = path.read_text(encoding="utf-8")
    found = []
    for match in header.finditer(text):
        if "=" in match[0].partition("(")[0]:
            continue
        found.append((text[: match.start()].count("\n") + 1, " ".join(match[0].split())))
    return found


def returns_object(header: str) -> bool:
    """Tell whether a C function returns a Python object, whose absence says that it failed."""
    returned = header.partition("(")[0].split()[1:-1]
    plain = [word for word in returned if word not in {"inline", "public", "api"}]
    c_types = r"(?:void|bint|int|char|short|long|float|double|size_t|Py_\w+|u?int\d+_t|.*\*)"
    return not plain or not any(re.fullmatch(c_types, word) for word in plain)


def _code(path: Path, *, keeps_formatted: bool = False) -> str:
    """Return the text of a file with strings emptied, but for formatted ones if asked so; lines stay where they are."""
    text = path.read_text(encoding="utf-8")

    def empty(match: re.Match[str]) -> str:
        if keeps_formatted and re.search(r"(?<!\w)f$", text[max(0, match.start() - 2) : match.start()]):
            return match[0]
        if match[0].startswith("#"):
            return "#"
        starts_line = not text[: match.start()].rpartition("\n")[2].strip()
        lines = match[0].count("\n") + 1
        return "\n".join([_DOCSTRING_MARK if starts_line else "''"] * lines)

    return _TEXT.sub(empty, text)


def _function_at(lines: list[str], start: int) -> Function | None:
    """Return the function whose first line is `start`; None if no function with a body begins there."""
    header = _HEADER.match(lines[start])
    if not header:
        return None
    end, text = start, lines[start]
    while text.count("(") > text.count(")") and end + 1 < len(lines):
        end += 1
        text += "\n" + lines[end]
    opened = header.end()
    closed = _closing(text, opened)
    if ":" not in text[closed:]:
        return None  # A declaration.
    indent = len(header["indent"])
    last = end
    for number in range(end + 1, len(lines)):
        line = lines[number]
        if line.strip(" #" + _DOCSTRING_MARK):
            if len(line) - len(line.lstrip()) <= indent:
                break
            last = number
    size = sum(_DOCSTRING_MARK not in line for line in lines[start : last + 1])
    return Function(header["name"], start + 1, size, tuple(_parameters(text[opened:closed])))


def _closing(text: str, start: int) -> int:
    """Return where the bracket opened before `start` is closed."""
    depth = 1
    for position in range(start, len(text)):
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if depth == 0:
            return position
    return len(text)


def _parameters(text: str) -> Iterator[str]:
    """Yield each parameter as it is written, but `self`, `cls` and the signs between them."""
    depth, current = 0, ""
    for letter in text + ",":
        if letter == "," and depth == 0:
            written = " ".join(current.replace("#", " ").split())
            if written and written.split(":")[0] not in {"self", "cls", "*", "/"}:
                yield written
            current = ""
            continue
        depth += (letter in "([{") - (letter in ")]}")
        current += letter


def _python_imports(path: Path) -> Iterator[Import]:
    immediate = set(_immediate(tree(path)))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, node not in immediate)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = _imported_module(node.module or "", alias.name)
                yield Import(module, node.lineno, node not in immediate)


def _immediate(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run while the module is imported: no functions, no branches for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _immediate(child)


def _cython_imports(path: Path) -> Iterator[Import]:
    code = _code(path)
    for match in _IMPORT_FROM.finditer(code):
        line = code[: match.start()].count("\n") + 1
        for name in match[3].strip("()").replace("#", " ").split(","):
            if words := name.split():
                yield Import(_imported_module(match[2], words[0]), line, bool(match[1]))
    for match in _IMPORT.finditer(code):
        line = code[: match.start()].count("\n") + 1
        for name in match[2].split("#")[0].split(","):
            yield Import(name.split()[0], line, bool(match[1]))


def _imported_module(module: str, name: str) -> str:
    """Return the module that `from module import name` needs: `module.name` where that is one."""
    is_module = module.partition(".")[0] == "fastrpc" and _is_module(f"{module}.{name}")
    return f"{module}.{name}" if is_module else module


def _is_module(name: str) -> bool:
    place = PACKAGE.parent.joinpath(*name.split("."))
    return place.is_dir() or any(place.with_suffix(suffix).exists() for suffix in (".py", ".pyx", ".pxd"))
