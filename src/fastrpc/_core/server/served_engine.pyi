from typing import Any, Protocol, final

from fastrpc._core.io.engine import PythonEngine
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.engine_served_connection import EngineServedConnection
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.served_call import ServerCall
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity

class _Parts(Protocol):
    """The part of `ServerParts` that every `ServedEngine` needs; one with rules needs their `config`, too."""

    @property
    def gate(self) -> Gate: ...
    @property
    def reveals_services(self) -> bool: ...

@final
class ProvenCaller:
    """The identity of a caller, and the end of its proof; read while the handler of the call runs."""

    def __init__(self, call: ServerCall) -> None: ...
    @property
    def identity(self) -> Identity | None: ...
    @property
    def has_own_credential(self) -> bool:
        """Whether the call brought a credential of its own."""

@final
class PythonServedConnection(EngineServedConnection):
    """The served calls of one connection whose engine is written in Python."""

    @property
    def engine(self) -> ServedEngine | None:
        """The connection, or None once it is gone."""

    def answer(self, call: ServerCall, payload: bytes) -> None: ...
    def fail(self, call: ServerCall, failure: Failure) -> None: ...
    def hold(self, call: ServerCall) -> None: ...
    def release(self, call: ServerCall) -> None: ...

class ServedEngine(PythonEngine):
    """The server's side of one connection, for protocols in Python.

    Subclasses implement `receive_data`, which passes each request to `gate.begin(self.connection, …)`, and `answer` and
    `fail`; `hold` and `release` if the protocol can cancel.

    Args:
        parts: the parts that all connections of the server share.
        protocol: the name under which calls are counted.
        has_rules: whether the connection lives by `Timeouts` and `Keepalive` of the server; else by rules of its own.
    """

    def __init__(self, parts: _Parts, protocol: str, *, has_rules: bool = True) -> None: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def connection(self) -> PythonServedConnection:
        """The connection as the gate knows it."""

    def answer(self, call: ServerCall, payload: bytes) -> None:
        """Send the result of a call."""

    def fail(self, call: ServerCall, failure: Failure) -> None:
        """Send the failure of a call, or that it was not started."""

    def hold(self, call: ServerCall) -> None:
        """Note that a call outlasts this turn: a cancel has to find it until it is answered."""

    def release(self, call: ServerCall) -> None:
        """Note the end of a one-way call, which has no answer."""

    def act_for(self, caller: ProvenCaller) -> None:
        """Give this connection the identity of a caller: the peer proved that it acts for it."""

    def describe_peer(self) -> Peer:
        """Return the other side of this connection."""

    def identify(
        self,
        identity: Identity,
        valid_seconds: float | None = None,
        *,
        by_certificate: bool = False,
        generation: int = 0,
    ) -> bool:
        """Note the identity that the peer's certificate proved, and the end of its validity."""

    def go_on(self) -> None:
        """Process the input that waited for a verdict."""

    def count_moved(self, call: ServerCall, received_bytes: int, sent_bytes: int) -> None:
        """Count bytes of a call that lie in none of its payloads, once its handler has started."""

    def opened(self) -> None:
        """End the opening, which `Timeouts.handshake` bounds: received bytes do so by themselves.

        For protocols whose server speaks first: their peers may be silent for any time.
        """

    def note_use(self) -> None:
        """Count the connection as used now, for `Timeouts.idle` and a drain.

        Received bytes and the ends of calls do so by themselves, output does not: for unrequested messages.
        """

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Take no new calls; a protocol that can announce it overrides this."""

    def hold_back(self, is_held_back: bool) -> None:
        """Pause reading until this is called with False; bytes that wait here meanwhile are not late."""

    @property
    def has_drained(self) -> bool:
        """Whether no call is under way and all output is sent."""

    def end_calls(self, text: str) -> None:
        """Answer every call that is still under way, and stop its handler."""

    def stats(self) -> dict[str, Any]:
        """Return what is under way as plain data: calls, one_way, buffered, credit."""
