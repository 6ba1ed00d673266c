from asyncio import BaseTransport
from typing import Any

from fastrpc._core.calling.pending_call import PendingCall
from fastrpc._core.io.session import Session

class ClientSession(Session):
    """One connection to one endpoint, carrying any number of calls at once.

    Args:
        endpoint: its endpoint, which errors name.
        owner: gets the callbacks `session_ready(session)`, `session_aged(session)`, `session_draining(session)`,
            `session_lost(session, error)` and, on request, `session_used(session)`.
        options: the options of `Session`.
    """

    def __init__(self, *, endpoint: Any, owner: Any, **options: Any) -> None: ...
    @property
    def endpoint(self) -> Any: ...
    @property
    def owner(self) -> Any: ...
    @property
    def is_usable(self) -> bool:
        """Whether it takes calls: it is connected, and the peer accepts new ones."""

    @property
    def is_ready(self) -> bool:
        """Whether the peer's SETTINGS arrived."""

    @property
    def is_aged(self) -> bool:
        """Whether it is older than `Keepalive.max_age`. It takes calls until its successor does, or twice that age."""

    @property
    def is_dispensable(self) -> bool:
        """Whether it was unused when it ended or aged: it had no calls but probes, or none for `Timeouts.idle`."""

    #: Whether the owner gets `session_used` at the next call.
    announces_calls: bool

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin; early calls may be sent from here on."""

    def begin_probe(self, call: PendingCall) -> None:
        """Mark a call that is about to be sent here as a probe: it keeps no connection open, and wakes none."""

    def end_probe(self, call: PendingCall) -> None:
        """Note that a probe ended, or was not sent."""

    def retire(self) -> None:
        """Take no new calls, and close once the calls in flight have ended."""

    def stats(self) -> dict[str, int]:
        """Return the gauges as plain data: calls, waiting, buffered, credit."""
