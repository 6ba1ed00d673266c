"""The selector that keeps the endpoint of each key when the list changes."""

from collections.abc import Callable

from fastrpc._core.balancing.selectors import BaseSelector
from fastrpc._core.balancing.wrapping_selectors import StickySelector
from fastrpc.selectors.base import inner_selector

__all__ = ["Sticky"]


class Sticky(StickySelector):
    """Keep the endpoint of each `hash_key` while it is listed; all calls without a key share one endpoint.

    While an endpoint is ejected, drains, has no connection or an open breaker, calls use another endpoint. The binding
    moves only after ten seconds of this. Bindings belong to this client; to continue a session in another process, use
    `with_options(prefer=)`.

    Args:
        inner: the selector that picks the endpoint of a new key, as a name or an object of `fastrpc.selectors` with its
            filters. With `LeastLoaded`, a new key gets the endpoint with the fewest keys per weight among equally
            loaded endpoints.
        keep: seconds since its last call after which a key is forgotten.
        most: the largest number of keys; a further key replaces the least recently used key.
        clock: a function that returns seconds, for tests; None: the monotonic clock.
    """

    __slots__ = ()

    def __init__(
        self,
        inner: BaseSelector | str = "least_loaded",
        *,
        keep: float = 3600,
        most: int = 100_000,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(inner_selector(inner), keep=keep, most=most, clock=clock)
