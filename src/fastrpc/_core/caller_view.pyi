from collections.abc import Callable, Mapping
from typing import Any

from fastrpc._core.call import Route

class ViewState:
    """What a client and its views share, with a loop or without.

    Args:
        resolve: method and codec name -> Route.
    """

    #: By wire id.
    compressors: dict[int, Any]
    compress_above: int
    #: Nanoseconds, 0 = no limit.
    default_timeout_ns: int
    message_limit: int

    def __init__(self, resolve: Callable[[Any, str], Route]) -> None: ...
    def routes_of(self, codec: str) -> dict[Any, Route]:
        """Return the routes of a codec by method; they fill as methods are called."""

class CallerView:
    """One way of calling: a client, or a view of it with options of its own.

    The options are what `with_options` was given, or None; `codec` and `compressor` as they are used.
    """

    @property
    def shared(self) -> ViewState: ...
    @property
    def codec(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str | bytes] | None: ...
    @property
    def sent_metadata(self) -> bytes | None:
        """The metadata as it goes out."""

    @property
    def compressor(self) -> Any: ...
    @property
    def priority(self) -> int: ...
    @property
    def idempotent(self) -> bool | None: ...
    @property
    def wait_for_ready(self) -> bool: ...
    @property
    def fail_mode(self) -> Any: ...
    @property
    def hash_key(self) -> str | bytes | int | None: ...
    @property
    def endpoint(self) -> Any: ...
    def share(self, state: ViewState, codec: str) -> None:
        """Become the front of a state, with no options of its own."""

    def derive(self, base: CallerView, options: dict[str, Any]) -> None:
        """Become a view of `base`: what `options` leaves out is inherited."""
