"""Paths are sent as text."""

import pathlib
from collections.abc import Callable
from typing import Any

from fastrpc.types.base import Inner, PayloadType

__all__ = ["payload_type"]

_CLASSES = frozenset(
    {
        pathlib.Path,
        pathlib.PurePath,
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        # The class of the other system (Windows or POSIX) cannot be instantiated here.
        type(pathlib.Path()),
    }
)


def payload_type(cls: type[Any]) -> PayloadType | None:
    """Return the payload type of a class of `pathlib`."""
    return _PATH if cls in _CLASSES else None


def _encode(path: pathlib.PurePath, codec: str) -> str:
    return str(path)


def _decoder(annotation: Any, inner: Inner) -> Callable[[Any], Any]:
    def convert(plain: Any) -> Any:
        if not isinstance(plain, str):
            raise ValueError(f"Expected `{annotation.__name__}` as text, got `{type(plain).__name__}`")
        return annotation(plain)

    return convert


def _schema(annotation: Any) -> dict[str, Any]:
    return {"type": "string", "format": "path"}


# A path has the hash of its text, which is seeded.
_PATH = PayloadType(_encode, _decoder, is_seeded=True, schema=_schema)
