from logging import Logger
from typing import Any, final

from fastrpc._core.base.histogram import MethodCounters

logger: Logger

@final
class CallCounters:
    """The counters of a server's calls, by protocol and method."""

    def __init__(self) -> None: ...
    def by_method(self, protocol: str) -> dict[str, MethodCounters] | None:
        """Return the counters of a protocol's calls by method; None for the native one, whose routes hold them."""

@final
class RefusedCalls:
    """The refusals of one server, over all of its connections.

    Args:
        counters: the counters of every call of the server, started or not.
    """

    #: Notified of calls that do not start; None in most servers.
    watch: Any

    def __init__(self, counters: CallCounters) -> None: ...
    @property
    def count(self) -> int:
        """Calls that were not started."""

    @property
    def expired(self) -> int:
        """Calls that were not started because their deadline had passed."""
