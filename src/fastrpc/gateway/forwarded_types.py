"""Methods of target servers from their reflection: names, kinds, types of plain values.

Types written with `int`, `str`, lists and similar types are the same types here. A class of the server has no type
here: its values pass unchanged, and the target server checks them. No text of a server is executed.
"""

import ast
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from fastrpc.gateway.forwarding import ForwardedMethod, ForwardedParameter
from fastrpc.rpc.described_services import MethodDescription, ServiceDescription
from fastrpc.rpc.signature import NO_DEFAULT

__all__ = ["annotation_of", "described_methods"]

#: Longest type, in characters, that is parsed. The text comes from a peer.
_LONGEST_TYPE: Final = 1000

#: The type of values that are passed on unchanged.
_UNTYPED: Final = msgspec.Raw

_PLAIN: Final[dict[str, Any]] = {"int": int, "str": str, "float": float, "bool": bool, "bytes": bytes}
_LISTS: Final[dict[str, Any]] = {"list": list, "set": list, "frozenset": list}


def described_methods(description: ServiceDescription) -> list[ForwardedMethod]:
    """Return the methods of a service."""
    return [_method(one) for one in description.methods]


def _method(described: MethodDescription) -> ForwardedMethod:
    stream = None
    if described.stream is not None:
        stream = (described.stream.name, annotation_of(described.stream.type), described.stream.position)
    result = described.result
    if described.kind in {"server_stream", "both_ways"} and result.startswith("AsyncIterator["):
        result = result.removeprefix("AsyncIterator[").removesuffix("]")
    return ForwardedMethod(
        name=described.name,
        parameters=[
            ForwardedParameter(
                one.name,
                annotation_of(one.type),
                NO_DEFAULT if one.required else _default(one.default),
                one.by_position,
                one.by_name,
            )
            for one in described.parameters
        ],
        result=annotation_of(result),
        kind=described.kind,
        documentation=described.documentation,
        stream=stream,
        options={
            "idempotent": described.idempotent,
            "safe": described.safe,
            "timeout": described.timeout,
            "codec": described.codec if described.codec == "raw" else None,
            "renamed": described.renamed or None,
            "alias": tuple(described.alias),
        },
    )


def _default(text: str | None) -> Any:
    """Return a default for documents only: if an argument is missing, the target server applies its own default."""
    if text is None or len(text) > _LONGEST_TYPE:
        return ...
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ...
    # fastrpc warns of a mutable default, which one call could change for all others.
    return ... if type(value).__hash__ is None else value


def annotation_of(text: str) -> Any:
    """Return the type that a text names if it consists of plain types, else a type for any value."""
    if len(text) > _LONGEST_TYPE:
        return _UNTYPED
    try:
        return _read(ast.parse(text, mode="eval").body)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return _UNTYPED


def _read(node: ast.expr) -> Any:
    """Return a type; ValueError if it does not consist of plain types."""
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    if isinstance(node, ast.Name) and node.id in _PLAIN:
        return _PLAIN[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        members = [_read(node.left), _read(node.right)]
        if None not in members:
            raise ValueError("only the server knows which one a value is")
        return members[members[0] is None] | None
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _container(node.value.id, inner)
    raise ValueError("a class of the server")


def _container(name: str, inner: Sequence[ast.expr]) -> Any:
    if name in _LISTS and len(inner) == 1:
        return _LISTS[name][_read(inner[0])]
    if name == "dict" and len(inner) == 2 and _read(inner[0]) is str:
        return dict[str, _read(inner[1])]  # type: ignore[misc]
    raise ValueError("not a plain container")
