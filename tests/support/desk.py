"""A service that keeps its received values, for tests that run in its process."""

import asyncio
import threading
from typing import Any

import fastrpc
from fastrpc import CallError, Status

__all__ = ["Desk"]


@fastrpc.service("desk")
class Desk:
    """Handlers for each way a call can go."""

    def __init__(self) -> None:
        self.noted: list[int] = []
        self.is_noted = threading.Event()
        self.is_waiting = threading.Event()
        self.is_cancelled = threading.Event()

    @fastrpc.method
    async def mul(self, a: int, b: int = 2) -> int:
        return a * b

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        return data

    @fastrpc.method(idempotent=True)
    async def whoami(self) -> int:
        return id(self)

    @fastrpc.method
    async def fail(self, status: int) -> None:
        raise CallError(Status(status), "as asked", details={"status": status})

    @fastrpc.method
    async def crash(self) -> None:
        raise ZeroDivisionError("secret")

    @fastrpc.method
    async def note(self, value: int) -> None:
        self.noted.append(value)
        self.is_noted.set()

    @fastrpc.method
    async def wait(self) -> None:
        self.is_waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.is_cancelled.set()
            raise

    @fastrpc.method
    async def seen(self) -> dict[str, Any]:
        call = fastrpc.current_call()
        call.reply_metadata["seen"] = "yes"
        return {"remaining": call.remaining(), "metadata": dict(call.metadata), "priority": call.priority}

    def count(self, limit: int) -> int:
        return limit
