import asyncio
from logging import Logger
from typing import final

from fastrpc._core.serving.gate import Gate
from fastrpc._core.serving.served_call import ServerCall
from fastrpc.rpc.peer import Identity, Peer

logger: Logger

@final
class Failure:
    """The answer to a call that failed.

    Args:
        status: the number of a status.
        details: encoded in the codec of the call, or in msgpack.
        pushback_ms: milliseconds after which to try again; 0: nothing said, all ones: do not.
        has_run: whether the handler may have run, or something made a call in its place.
    """

    def __init__(
        self, status: int, text: str, details: bytes = b"", *, pushback_ms: int = 0, has_run: bool = True
    ) -> None: ...
    @property
    def status(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def details(self) -> bytes: ...
    @property
    def pushback_ms(self) -> int: ...
    @property
    def has_run(self) -> bool: ...

class Exchange:
    """The served calls of one connection, as the gate knows them. An engine in Python inherits from it.

    Args:
        gate: of the server that serves the calls.
        protocol: what the engine's protocol is called.
    """

    #: Who the peer proved to be; a call may belong to somebody else.
    identity: Identity | None
    #: Whether the peer may ask which services there are.
    reveals_services: bool
    #: What the peer takes of an answer, in bytes.
    max_message: int
    max_metadata: int

    def __init__(self, gate: Gate, protocol: str) -> None: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def protocol(self) -> str: ...
    @property
    def is_closed(self) -> bool:
        """Whether nobody waits for answers any more."""

    @property
    def running(self) -> tuple[ServerCall, ...]:
        """Calls whose handlers go on beyond their first turn."""

    @property
    def holding(self) -> int:
        """Why requests do not start at once: 1 behind a stall, 2 output waits, 4 their memory is nearly used up."""

    @property
    def request_held(self) -> int:
        """Bytes of requests being received, waiting or handled."""

    @property
    def held_bytes(self) -> int:
        """Bytes that the connection holds: requests, records of calls, output, reads that wait for a turn."""

    def answer(self, call: ServerCall, payload: bytes) -> None:
        """Send the result of a call; `payload` is encoded in its codec, `call.reply_metadata` goes with it."""

    def fail(self, call: ServerCall, failure: Failure) -> None:
        """Send what became of a call that has no result."""

    def refuse(self, call: ServerCall, status: int, text: str, is_faulty: bool) -> None:
        """Send that a call was not started; what is inherited passes it to `fail`. A one-way call is dropped.

        Args:
            is_faulty: whether the same call again would fare no better.
        """

    def hold(self, call: ServerCall) -> None:
        """Note that a call goes on beyond this turn: until it is answered a cancel has to find it."""

    def release(self, call: ServerCall) -> None:
        """Note that a one-way call that was started is over: nothing else tells."""

    def describe_peer(self) -> Peer | None:
        """Return who is on the other side."""

    def note_probe(self) -> None:
        """Note that a call only asked for health."""

    def drain_event(self) -> asyncio.Event:
        """Return the event that is set when this connection is to end."""

    def note_drain(self) -> None:
        """Tell handlers that the connection is to end: `current_call().draining`."""
