from collections.abc import Callable, Iterable
from typing import Any, final

@final
class HashModel:
    """A model of Python's hash tables, slots only, that counts collisions."""

    seen: int
    misses: int
    def __init__(self, *, is_set: bool) -> None: ...
    def weigh(self, keys: Iterable[Any]) -> bool:
        """Add the keys of one container and return whether those seen so far collide."""

@final
class HashFloodGuard:
    """Decodes the keys of long maps and the values of long arrays separately, and reports collisions.

    Args:
        codec_id: msgpack (1) or JSON (2).
        keys: the `key_decoder` of each type that a key may have.
        values: the same for each type that a value of a set may have.
        skips_texts: text and bytes keys are decoded as they are, and need no check.
    """

    codec_id: int
    skips_texts: bool
    keys: tuple[Callable[[Any], Any], ...]
    values: tuple[Callable[[Any], Any], ...]
    def __init__(
        self,
        codec_id: int,
        *,
        keys: tuple[Callable[[Any], Any], ...],
        values: tuple[Callable[[Any], Any], ...],
        skips_texts: bool = False,
    ) -> None: ...

def key_decoder(
    codec_id: int,
    type: Any,
    *,
    is_key: bool = True,
    dec_hook: Callable[[Any, Any], Any] | None = None,
) -> Callable[[Any], Any]:
    """Return a decoder for many keys, or set values, of one type; `dec_hook` is msgspec's hook for other classes."""

def untyped_guard() -> HashFloodGuard:
    """Return the guard for msgpack values of unknown type."""
