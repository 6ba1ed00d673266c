from collections.abc import Callable, Mapping
from typing import Any, Literal, final

@final
class DefaultFiller:
    """Puts the defaults of plain dataclasses where encoders look, in all of a decoded value.

    Made empty and defined once, as types may refer to themselves.
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
        """Say what is gone through.

        Args:
            cls: the class of an object.
            parts: who goes through which attribute of an object, key of a typed dict or place of a tuple.
            defaults: by field of an object, the default, what makes it if it is made anew each time, and whether
                there is none.
            each: who goes through each value of a map or a collection.
            keys: who goes through each key of a map.
            by_class: who goes through the values of a union.
        """

    def __call__(self, value: Any) -> Any:
        """Fill in what is missing and return the same value."""

@final
class FillingDecoder:
    """A decoder whose values have all their fields."""

    def __init__(self, decode: Callable[[Any], Any], filler: DefaultFiller) -> None: ...
    def __call__(self, payload: Any) -> Any:
        """Decode a payload."""
