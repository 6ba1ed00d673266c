import asyncio
from collections import deque
from typing import Any, final

from fastrpc._core.server.memory_budget import Room
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.streams.stream_channel import StreamChannel

@final
class ServedStream(StreamChannel):
    """The messages of a call that is served: an asynchronous iterator of what the caller sends."""

    @property
    def is_committed(self) -> bool:
        """Whether the first metadata went, or a message before there was any."""

    def commit_metadata(self) -> None:
        """Send the first metadata now, also where there is none.

        Raises:
            RuntimeError: it was sent already, by itself or with the first message.
        """

    def begin_unpacking(self, job: object) -> None:
        """Note what decompresses the oldest message until `unpacked` is called."""

    def unpacked(self, payload: bytes, room: Room | None, error: Exception | None) -> None:
        """Take the oldest message decompressed, and its room; or an error, which is raised in its place."""

    def bind(self) -> Any:
        """Return how to call the handler."""

    def encode(self, value: Any) -> bytes:
        """Return the payload of a message."""

    def send_payloads(self, payloads: deque[bytes]) -> int:
        """Send encoded messages from the left of a deque until there is none, or no room; return their bytes."""

    def wait_where_full(self) -> asyncio.Future[None] | None:
        """Return a future that is done once there is room; None where there is some, or nothing more can be sent.

        Raises:
            Exception: the last message could not be compressed.
        """

    @property
    def has_sent_wraps(self) -> bool:
        """Whether functions of interceptors make something else of each message: they are called on the loop."""

async def drive(call: ServerCall) -> None:
    """Run a handler whose answer is a stream: it is stepped as long as there is room for what it yields."""

async def throw_at_yield(messages: Any) -> None:
    """Raise CancelledError at the `yield` where an asynchronous generator stands."""

def throw_at_plain_yield(messages: Any) -> None:
    """Raise CancelledError at the `yield` where a generator stands; in whichever thread it runs."""

@final
class OnLoop:
    """The messages of an inline generator, which runs on the loop, as an asynchronous generator."""

    def __init__(self, messages: Any) -> None: ...
    def __aiter__(self) -> OnLoop: ...
    async def __anext__(self) -> Any: ...
    async def athrow(self, error: BaseException) -> None: ...
    async def aclose(self) -> None: ...
