"""A line-based protocol whose engine is Python: it shows what the gate asks of a protocol, and that it is enough.

::

    shop.price "apple"          →   1 OK 5
    shop.pack@250 "apple"       →   2 DEADLINE_EXCEEDED shop.pack: its deadline passed
    cancel 3                    →   3 CANCELLED shop.pack was cancelled

A line is a full method name, the caller's milliseconds if it has any, and the argument in JSON. Answers have the number
of their call, and come as handlers end.
"""

import asyncio
from typing import Any, cast

from fastrpc import Status
from fastrpc._core.serving.exchange import Exchange, Failure
from fastrpc._core.serving.gate import Gate
from fastrpc._core.serving.served_call import ServerCall
from fastrpc.calling.peer import Peer
from fastrpc.protocols.base import ServerParts, Verdict, register

__all__ = ["ToySession"]


class ToyEngine(Exchange):
    """Lines in, lines out."""

    def __init__(self, gate: Gate, session: "ToySession") -> None:
        super().__init__(gate, "toy")
        self.session: ToySession | None = session
        self.peer = gate.dispatcher.describe_peer(session)
        self.rest = b""
        self.calls: dict[int, ServerCall] = {}

    def receive(self, data: bytes) -> None:
        """Serve the lines that are whole."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"cancel "):
                self.gate.cancel_call(self.calls[int(line[7:])])
            else:
                self.begin(*line.decode().partition(" ")[::2])

    def begin(self, head: str, argument: str) -> None:
        method, _, milliseconds = head.partition("@")
        self.gate.begin(
            self,
            method=method,
            payload=f"[{argument}]".encode(),
            codec="json",
            timeout=float(milliseconds) / 1000 if milliseconds else None,
        )

    def say(self, number: int, status: int, text: str) -> None:
        self.calls.pop(number, None)
        if self.session is not None:
            self.session.transport.write(f"{number} {Status(status).name} {text}\n".encode())

    # What the gate asks for

    def answer(self, call: ServerCall, payload: bytes) -> None:
        self.say(call.id, Status.OK, payload.decode())

    def fail(self, call: ServerCall, failure: Failure) -> None:
        self.say(call.id, failure.status, failure.text)

    def hold(self, call: ServerCall) -> None:
        self.calls[call.id] = call

    def describe_peer(self) -> Peer:
        return self.peer

    def abandon(self) -> None:
        if self.session is not None:
            self.session.abort()


class ToySession(asyncio.Protocol):
    """One connection: what a transport calls, and what a server calls while it drains and closes."""

    def __init__(self, parts: ServerParts) -> None:
        self.gate = parts.gate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer_name = transport.get_extra_info("peername")
        self.exchange = ToyEngine(self.gate, self)
        self.gate.connection_made(self)

    def data_received(self, data: bytes) -> None:
        self.exchange.receive(data)

    def connection_lost(self, error: BaseException | None) -> None:
        self.exchange.session = None
        self.gate.connection_lost(self.exchange)
        self.gate.sessions.discard(self)
        self.gate.dispatcher.session_lost(self.exchange, error)

    def pause_writing(self) -> None:
        self.gate.weigh_output(self.exchange, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self.gate.weigh_output(self.exchange, 0)

    # What a server calls

    def begin_drain(self, reason: int, text: str = "") -> None:
        self.exchange.note_drain()

    @property
    def has_drained(self) -> bool:
        return not (self.exchange.calls or self.transport.get_write_buffer_size())

    def end_calls(self, text: str) -> None:
        self.gate.end_calls(self.exchange, text)

    def close(self, reason: int = 0, text: str = "") -> None:
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()

    def stats(self) -> dict[str, Any]:
        return {
            "calls": len(self.exchange.calls),
            "one_way": 0,
            "buffered": self.transport.get_write_buffer_size(),
            "credit": 0,
        }


def detect_toy(data: bytes) -> Verdict:
    return Verdict.YES if data[:1].isalpha() else Verdict.NO


register("toy", detect_toy, ToySession)
