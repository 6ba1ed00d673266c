from collections.abc import Callable, Mapping
from typing import Any, Literal, final

@final
class BytesDecoder:
    """The decoder of msgpack payloads that are one `bytes` value.

    Args:
        otherwise: decodes every other payload, or raises its error.
    """

    otherwise: Callable[[Any], Any]
    def __init__(self, otherwise: Callable[[Any], Any]) -> None: ...
    def __call__(self, payload: bytes | bytearray | memoryview) -> Any:
        """Return the value of a payload."""

@final
class BytesEncoder:
    """The encoder of large `bytes` values.

    Args:
        otherwise: encodes every other value.
    """

    otherwise: Callable[[Any], bytes]
    def __init__(self, otherwise: Callable[[Any], bytes]) -> None: ...
    def __call__(self, value: Any) -> bytes:
        """Return the payload of a value."""

@final
class DefaultFiller:
    """Stores the defaults of plain dataclasses in all objects of a decoded value.

    Created empty and defined once, as types may refer to themselves.
    """

    cls: type[Any] | None
    def define(
        self,
        kind: Literal["object", "typed dict", "map", "collection", "places", "union"],
        *,
        cls: type[Any] | None = None,
        parts: Mapping[Any, DefaultFiller] | None = None,
        defaults: Mapping[str, tuple[Any, Callable[[], Any] | None, bool]] | None = None,
        each: DefaultFiller | None = None,
        keys: DefaultFiller | None = None,
        by_class: Mapping[type[Any], DefaultFiller] | None = None,
    ) -> None:
        """Define the traversal.

        Args:
            cls: the class of an object.
            parts: the filler of each attribute of an object, key of a typed dict or position of a tuple.
            defaults: by field of an object: the default, its factory, and whether there is neither.
            each: the filler of the values of a map or a collection.
            keys: the filler of the keys of a map.
            by_class: the fillers of a union, by class.
        """

    def __call__(self, value: Any) -> Any:
        """Fill in missing defaults and return the same value."""

@final
class FillingDecoder:
    """A decoder whose values have all their fields."""

    def __init__(self, decode: Callable[[Any], Any], filler: DefaultFiller) -> None: ...
    def __call__(self, payload: Any) -> Any:
        """Decode a payload."""
