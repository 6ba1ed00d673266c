"""Parse types in the form in which reflection writes them."""

import ast
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fastrpc.errors import ConfigError
from fastrpc.rpc.protobuf.field import Field

__all__ = ["ANY", "ELLIPSIS", "TypeTree", "read_type", "substituted"]

_LITERALS: Final = frozenset({str, int, bool, bytes})
#: Constraints of `Meta`, with the types of their values.
_CONSTRAINTS: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("gt", "ge", "lt", "le", "multiple_of"), (int, float)),
    **dict.fromkeys(("min_length", "max_length"), (int,)),
    "pattern": (str,),
    "tz": (bool,),
}
#: The options of `Field`.
_OPTIONS: Final = ("kind", "oneof", "name")


class TypeTree(NamedTuple):
    """A type: a name with arguments; `|` with choices, `Literal` with values, `?` with a text that is not a type.

    The arguments of `Annotated` are the type, `Float32` if numbers have 32 bits, `Meta` with pairs of a constraint and
    its value, and `Field` with pairs, too; `()` is the argument of the empty tuple.
    """

    name: str
    arguments: tuple[Any, ...] = ()

    def __str__(self) -> str:
        if self.name == "|":
            return " | ".join(map(str, self.arguments))
        if self.name == "?":
            return str(self.arguments[0])
        if self.name == "Literal":
            return f"Literal[{', '.join(map(repr, self.arguments))}]"
        if self.name == "Meta":
            return f"Meta({', '.join(f'{name}={value!r}' for name, value in self.arguments)})"
        if self.name == "Field":
            return f"Field({', '.join(map(_field_argument, self.arguments))})"
        return f"{self.name}[{', '.join(map(str, self.arguments))}]" if self.arguments else self.name


def _field_argument(pair: tuple[str, Any]) -> str:
    name, value = pair
    return repr(value) if name == "number" else f"{name}={value!r}"


ANY: Final = TypeTree("Any")
ELLIPSIS: Final = TypeTree("...")


def read_type(text: str) -> TypeTree:
    """Parse a type. An invalid text becomes a tree that only equals a tree of the same text."""
    try:
        return _read(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return TypeTree("?", (text,))


def _read(node: ast.AST) -> TypeTree:
    match node:
        case ast.Constant(value=None):
            return TypeTree("None")
        case ast.Constant(value=value) if value is ...:
            return ELLIPSIS
        case ast.Constant(value=str() as text):
            return read_type(text)
        case ast.Name(id=name):
            return TypeTree("Any" if name == "object" else name)
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            return TypeTree(f"{module}.{name}")
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union(_read(left), _read(right))
        case ast.Subscript(value=value, slice=inner):
            name = _read(value).name
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _read_literal(inner) if name == "Literal" else _read_generic(name, parts)
    raise ValueError(f"{ast.dump(node)} is not a type")


def _read_literal(choices: ast.expr) -> TypeTree:
    given = ast.literal_eval(choices)
    values = given if isinstance(given, tuple) else (given,)
    if not all(value is None or type(value) in _LITERALS for value in values):
        raise ValueError(f"{ast.dump(choices)} has other values")
    return TypeTree("Literal", values)


def _read_generic(name: str, parts: list[ast.expr]) -> TypeTree:
    if name == "Annotated" and parts:
        found = tuple(meta for one in parts[1:] if (meta := _read_constraints(one)) is not None)
        return TypeTree(name, (_read(parts[0]), *found)) if found else _read(parts[0])
    # The tree of the empty tuple has the argument `()`.
    trees = tuple(map(_read, parts)) or (TypeTree("()"),)
    if name in {"Optional", "Union"}:
        return _union(*trees, *([TypeTree("None")] if name == "Optional" else []))
    return TypeTree(name, trees)


def _union(*choices: TypeTree) -> TypeTree:
    flat: dict[TypeTree, None] = {}
    for choice in choices:
        flat.update(dict.fromkeys(choice.arguments if choice.name == "|" else (choice,)))
    return TypeTree("|", tuple(flat)) if len(flat) > 1 else next(iter(flat))


def _read_constraints(node: ast.AST) -> TypeTree | None:
    """Return the constraints of a type, or the width of a number; None for other metadata."""
    if isinstance(node, ast.Name) and node.id == "Float32":
        return TypeTree("Float32")
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    if node.func.id == "Field":
        return _read_field(node)
    if node.func.id != "Meta":
        return None
    pairs = []
    for one in node.keywords:
        value = ast.literal_eval(one.value)
        if one.arg in _CONSTRAINTS and type(value) in _CONSTRAINTS[one.arg]:
            pairs.append((one.arg, value))
    return TypeTree("Meta", tuple(pairs)) if pairs else None


def _read_field(node: ast.Call) -> TypeTree | None:
    """Return a field's `Field` for protobuf; None if its arguments are invalid."""
    pairs = [("number", ast.literal_eval(one)) for one in node.args]
    pairs += [(one.arg or "", ast.literal_eval(one.value)) for one in node.keywords]
    given = dict(pairs)
    try:
        Field(given.get("number"), **{name: given.get(name) for name in _OPTIONS})
    except (ConfigError, TypeError):
        return None
    return TypeTree("Field", tuple((name, given[name]) for name in ("number", *_OPTIONS) if name in given))


def substituted(tree: TypeTree, variables: Mapping[str, TypeTree]) -> TypeTree:
    """Return a type with its type variables replaced."""
    if not variables or tree.name in {"Literal", "Meta", "Field", "?"}:
        return tree
    if not tree.arguments and tree.name in variables:
        return variables[tree.name]
    arguments = tuple(substituted(one, variables) for one in tree.arguments)
    return _union(*arguments) if tree.name == "|" else TypeTree(tree.name, arguments)
