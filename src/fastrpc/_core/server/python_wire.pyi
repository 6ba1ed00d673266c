from collections.abc import Mapping
from typing import final

from fastrpc._core.link.contract import Wire
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.link import Link, LinkedConnection
from fastrpc._core.server.served_call import ServerCall
from fastrpc.rpc.identity import Identity

@final
class ProvenCaller:
    """The identity of a caller, and the end of its proof; read while the handler of the call runs."""

    def __init__(self, call: ServerCall) -> None: ...
    @property
    def identity(self) -> Identity | None: ...
    @property
    def has_own_credential(self) -> bool:
        """Whether the call itself brought a credential."""

class PythonWire(Wire):
    """The protocol of one connection, in Python: subclasses implement the three methods that raise.

    Args:
        protocol: the name under which calls are counted.
        outlasts_input: whether the connection outlasts the end of the peer's input. Otherwise a peer that leaves while
            its input is held back is still noticed, and its unread input is dropped.
        excludes_http: whether no request of the protocol can look like HTTP, so that a warning names HTTP clients.
    """

    def __init__(
        self, protocol: str, *, outlasts_input: bool = False, excludes_http: bool = False
    ) -> None: ...
    @property
    def connection(self) -> LinkedConnection:
        """The connection as the gate knows it, once a link holds the wire."""

    @property
    def link(self) -> Link | None:
        """The engine that holds this wire, which closes and aborts; None before and after its life."""

    @property
    def gate(self) -> Gate:
        """The gate of the server."""

    def connection_made(self) -> None:
        """Begin: the stream is connected. Not called for a connection above the limit."""

    def receive_data(self, data: bytes) -> int:
        """Handle received bytes; return how many were consumed.

        The rest is presented again with the next bytes, so an incomplete message needs no buffer. At most 393,216 bytes
        are received at once: a rest of that length closes the connection. The rest is copied each time, so a protocol
        with long messages consumes them in parts. Consumed bytes end the opening, unless callers have to authenticate:
        then an admitted call ends it.

        Raises:
            RemoteProtocolError: the peer broke the protocol. The link logs it, ignores further input, and closes once
                the calls under way have ended.
        """

    def write_answer(self, call: ServerCall, payload: bytes) -> None:
        """Send the result of a call. An error closes the connection."""

    def write_failure(self, call: ServerCall, failure: Failure) -> None:
        """Send the failure of a call, or that it was not started. An error closes the connection."""

    def hold(self, call: ServerCall) -> None:
        """Note that a call is not answered in this turn. Until it is answered, a cancellation has to find it."""

    def check_at(self, now: int) -> int:
        """Compare the instants of the protocol with now, in nanoseconds; return the next one, 0 = none."""

    def connection_lost(self) -> None:
        """Learn that the stream is gone."""

    def begin(
        self,
        *,
        method: str,
        payload: bytes,
        codec: str,
        timeout: float | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
        one_way: bool = False,
    ) -> ServerCall:
        """Serve a complete call; return it, for `Gate.cancel_call`.

        Raises:
            ValueError: the server has no such codec, or the timeout, in seconds, is negative.
        """

    def send(self, data: bytes) -> None:
        """Send bytes at the end of the current read or, outside a read, in the next turn of the loop."""

    def turn_is_over(self) -> bool:
        """Note a handled message. Return whether `receive_data` has to leave the rest for later."""

    def schedule_check(self, due_ns: int) -> None:
        """Schedule `check_at` for an instant; it may be called earlier."""

    def hold_back(self, is_held_back: bool) -> None:
        """Pause reading with True, resume it with False. Meanwhile no message is late."""

    def unsent_bytes(self) -> int:
        """Return the number of bytes of output that wait in this process, in the engine or in its stream."""

    def taken_bytes(self) -> int:
        """Return the number of bytes of output that were sent from this machine, as far as known."""

    def opened(self) -> None:
        """End the opening, which `Timeouts.handshake` bounds.

        For protocols in which the server speaks first: the peer may stay silent.
        """

    def note_use(self) -> None:
        """Count the connection as used now, for `Timeouts.idle` and a drain.

        Calls count by themselves. Other input and output do not: call this for heartbeats and unrequested messages.
        """

    def act_for(self, caller: ProvenCaller) -> None:
        """Set the identity of this connection to a caller's. The peer must have proved that it acts for the caller."""

    def count_moved(self, call: ServerCall, received_bytes: int, sent_bytes: int) -> None:
        """Count bytes of a call outside its payloads, once its handler has started."""
