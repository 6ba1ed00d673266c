"""Served connections and engines without a byte stream: they keep the gate's calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec

from fastrpc import Server, Status
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.python_served_connection import PythonServedConnection
from fastrpc._core.server.served_call import ServerCall
from fastrpc.protocols.base import ServerEngine

__all__ = ["KeptConnection", "KeptSession", "LostSession", "gate_for", "joined"]


class KeptConnection(PythonServedConnection):
    """The outcome of each call, in order; `ends` is set by each of them."""

    def __init__(self, gate: Gate, protocol: str = "kept") -> None:
        super().__init__(gate, protocol)
        self.answers: list[Any] = []
        self.failures: list[Failure] = []
        self.refusals: list[tuple[Status, str, bool]] = []
        #: For each refusal: milliseconds after which to retry.
        self.pauses: list[int] = []
        self.reply_metadata: list[dict[str, str | bytes]] = []
        self.listed: list[ServerCall] = []
        self.released: list[ServerCall] = []
        self.ends = asyncio.Event()

    def call(self, method: str, *arguments: Any, **options: Any) -> ServerCall:
        """Hand a call to the gate."""
        return self.gate.begin(
            self, method=method, payload=msgspec.msgpack.encode(arguments), codec="msgpack", **options
        )

    async def wait(self) -> None:
        """Wait for the next end of a call."""
        await self.ends.wait()
        self.ends.clear()

    def answer(self, call: ServerCall, payload: bytes) -> None:
        self.answers.append(msgspec.msgpack.decode(payload))
        self.reply_metadata.append(dict(call.reply_metadata))
        self.ends.set()

    def fail(self, call: ServerCall, failure: Failure) -> None:
        self.failures.append(failure)
        self.reply_metadata.append(dict(call.reply_metadata))
        self.ends.set()

    def refuse(self, call: ServerCall, status: int, text: str, is_faulty: bool) -> None:
        self.refusals.append((Status(status), text, is_faulty))
        self.pauses.append(call.pushback_ms)
        self.ends.set()

    def hold(self, call: ServerCall) -> None:
        self.listed.append(call)

    def release(self, call: ServerCall) -> None:
        self.released.append(call)
        self.ends.set()


class KeptSession:
    """A session that keeps the server's answers; other parts of `ServerEngine` are not used here."""

    def __init__(self, gate: Gate, connection: Any = None) -> None:
        self.connection = KeptConnection(gate) if connection is None else connection
        self.gate = gate
        self.closed: list[tuple[int, str]] = []

    def abort(self) -> None:
        self.gate.engines.discard(cast(ServerEngine, self))

    def close(self, reason: int = 0, text: str = "") -> None:
        self.closed.append((reason, text))
        self.abort()


class LostSession(KeptSession):
    """A session whose connection is lost at once when it is closed."""

    def close(self, reason: int = 0, text: str = "") -> None:
        super().close(reason, text)
        self.gate.connection_lost(self.connection)


def joined(gate: Gate, connection: Any = None, *, kind: type[KeptSession] = KeptSession) -> KeptSession:
    """Let the gate count a new connection."""
    session = kind(gate, connection)
    gate.engines.add(cast(ServerEngine, session))
    return session


@asynccontextmanager
async def gate_for(*sources: Any, **options: Any) -> AsyncIterator[Gate]:
    """Yield the gate of a server that listens nowhere, made with options of a Server."""
    server = Server(*sources, **options)
    await server.start()
    try:
        assert server._gate is not None
        yield server._gate
    finally:
        await server.close()
