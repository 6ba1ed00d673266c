"""One endpoint for each key, kept through changes of the list."""

from collections.abc import Callable

from fastrpc._core.balancing.selectors import BaseSelector
from fastrpc._core.balancing.wrapping_selectors import StickySelector
from fastrpc.selectors.base import inner_selector

__all__ = ["Sticky"]


class Sticky(StickySelector):
    """Keep the endpoint of each `hash_key` while it is listed; all calls without a key share one endpoint.

    If an endpoint is ejected, drains, has no connection or an open breaker, the call goes to another endpoint, but the
    binding stays for ten seconds before it moves. Bindings belong to this client; `with_options(prefer=)` continues a
    session in another process.

    Args:
        inner: picks the endpoint of a new key, by name or as an object of `fastrpc.selectors` with its filters. If
            endpoints are equally loaded, `LeastLoaded` gives a new key to the endpoint with the fewest keys, relative
            to its weight.
        keep: seconds since its last call after which a key is forgotten.
        most: the largest number of keys; the least recently used key makes room.
        clock: returns seconds, for tests; None takes the monotonic clock.
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
