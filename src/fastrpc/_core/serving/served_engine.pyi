from typing import Any, Protocol, final

from fastrpc._core.io.python_engine import PythonEngine
from fastrpc._core.serving.engine_exchange import EngineExchange
from fastrpc._core.serving.exchange import Failure
from fastrpc._core.serving.gate import Gate
from fastrpc._core.serving.served_call import ServerCall
from fastrpc.calling.peer import Peer
from fastrpc.rpc.identity import Identity

class _Parts(Protocol):
    """What a `ServedEngine` needs of `ServerParts`; with their `config` it has the rules of a `ConnectionLife`."""

    @property
    def gate(self) -> Gate: ...
    @property
    def reveals_services(self) -> bool: ...

@final
class Caller:
    """Who made a call, and until when that is proved; read while the handler of the call runs."""

    def __init__(self, call: ServerCall) -> None: ...
    @property
    def identity(self) -> Identity | None: ...
    @property
    def has_own_credential(self) -> bool:
        """Whether the call brought a credential of its own."""

@final
class PythonExchange(EngineExchange):
    """The served calls of one connection whose engine is written in Python."""

    @property
    def engine(self) -> ServedEngine | None:
        """The connection, or None once it is gone."""

    def answer(self, call: ServerCall, payload: bytes) -> None: ...
    def fail(self, call: ServerCall, failure: Failure) -> None: ...
    def refuse(self, call: ServerCall, status: int, text: str, is_faulty: bool) -> None: ...
    def hold(self, call: ServerCall) -> None: ...
    def release(self, call: ServerCall) -> None: ...

class ServedEngine(PythonEngine):
    """The server's side of one connection, for protocols in Python.

    Subclasses implement `receive_data`, which passes each request to `gate.begin(self.exchange, …)`, and `answer` and
    `fail`; `hold` and `release` where a protocol can cancel.

    Args:
        parts: what all connections of the server share.
        protocol: the name under which calls are counted.
    """

    def __init__(self, parts: _Parts, protocol: str) -> None: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def exchange(self) -> PythonExchange:
        """What the gate knows of this connection."""

    def answer(self, call: ServerCall, payload: bytes) -> None:
        """Send the result of a call."""

    def fail(self, call: ServerCall, failure: Failure) -> None:
        """Send the failure of a call, or that it was not started."""

    def hold(self, call: ServerCall) -> None:
        """Note that a call outlasts this turn: a cancel has to find it until it is answered."""

    def release(self, call: ServerCall) -> None:
        """Note the end of a one-way call, which has no answer."""

    def act_for(self, caller: Caller) -> None:
        """Make the calls of this connection those of a caller: the peer proved that it acts for that one."""

    def describe_peer(self) -> Peer:
        """Who is on the other side."""

    def identify(
        self,
        identity: Identity,
        valid_seconds: float | None = None,
        *,
        by_certificate: bool = False,
        generation: int = 0,
    ) -> bool:
        """Note who the peer proved to be by its certificate, and until when."""

    def go_on(self) -> None:
        """Take what waited for a verdict."""

    def count_moved(self, call: ServerCall, received_bytes: int, sent_bytes: int) -> None:
        """Count bytes of a call that lie in no payload of it, once its handler has started."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Take no new calls; a protocol that can say so overrides this."""

    def hold_back(self, is_held_back: bool) -> None:
        """Read no further until this is called with False; the bytes that lie here meanwhile are not late."""

    @property
    def has_drained(self) -> bool:
        """Whether no call is under way and all output is sent."""

    def end_calls(self, text: str) -> None:
        """Answer every call that is still under way, and stop its handler."""

    def stats(self) -> dict[str, Any]:
        """Return what is under way as plain data: calls, one_way, buffered, credit."""
