"""Find the definitions of public names in sources and stubs, without importing them."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "SOURCES",
    "Definition",
    "bases_of",
    "defined",
    "flat",
    "module_docstring",
    "public_names",
    "resolved",
]

SOURCES = Path(__file__).resolve().parents[2] / "src"


@dataclass(frozen=True)
class Definition:
    """A class, function or value with the file that defines it."""

    module: str
    node: ast.stmt
    lines: tuple[str, ...]


@cache
def _parsed(module: str) -> tuple[ast.Module, tuple[str, ...]] | None:
    """Return a module's tree and lines: of its stub if there is one, since compiled modules have no source."""
    place = SOURCES / module.replace(".", "/")
    for path in (place.with_suffix(".pyi"), place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            return ast.parse(text), tuple(text.splitlines())
    return None


def flat(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return statements as a type checker sees them: including those below `if TYPE_CHECKING`, without the others."""
    found: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found += flat(node.body)
        else:
            found.append(node)
    return found


def defined(node: ast.stmt) -> str | None:
    """Return the name that a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def resolved(module: str, name: str) -> list[Definition]:
    """Return the definitions of a name, found by following imports; several for overloads."""
    parsed = _parsed(module)
    if parsed is None:
        return []
    tree, lines = parsed
    body = flat(tree.body)
    if found := [Definition(module, node, lines) for node in body if defined(node) == name]:
        return found
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return resolved(node.module, alias.name)
    return []


def public_names(module: str) -> list[str]:
    """Return the `__all__` of a module as its source has it."""
    (found,) = resolved(module, "__all__")
    assert isinstance(found.node, ast.Assign)
    return list(ast.literal_eval(found.node.value))


def bases_of(definition: Definition) -> list[Definition]:
    """Return a class with the classes of this package that it is derived from, nearest first."""
    assert isinstance(definition.node, ast.ClassDef)
    found = [definition]
    for base in definition.node.bases:
        plain = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(plain, ast.Name):
            for other in resolved(definition.module, plain.id)[:1]:
                if isinstance(other.node, ast.ClassDef):
                    found += [one for one in bases_of(other) if one not in found]
    return found


def module_docstring(module: str) -> str:
    """Return the docstring of a module."""
    parsed = _parsed(module)
    assert parsed is not None, module
    return ast.get_docstring(parsed[0]) or ""
