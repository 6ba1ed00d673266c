import asyncio
from collections import deque
from typing import Any, final

from fastrpc._core.server.memory_budget import Room
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.streams.stream_channel import StreamChannel

@final
class ServedStream(StreamChannel):
    """The messages of a served call: an asynchronous iterator of the caller's messages."""

    @property
    def form(self) -> Any:
        """The form whose file the stream is (`fastrpc.server.http.forms`), or None."""

    @property
    def is_committed(self) -> bool:
        """Whether the first metadata, or a message without it, was sent."""

    def commit_metadata(self) -> None:
        """Send the first metadata now, even if it is empty.

        Raises:
            RuntimeError: it was sent already, alone or with the first message.
        """

    def compress_by(self, number: int) -> None:
        """Compress further messages with the compressor of this number; 0 = do not compress them."""

    def begin_unpacking(self, job: object) -> None:
        """Set the job that decompresses the oldest message, until `unpacked` is called."""

    def unpacked(self, payload: bytes, room: Room | None, error: Exception | None) -> None:
        """Replace the oldest message by its decompressed payload, or set the error to raise instead."""

    def bound(self) -> Any:
        """Return the arguments of the handler, including this stream if the handler receives the caller's messages."""

    def encoded(self, value: Any) -> bytes:
        """Return the payload of a message. May be called in the thread of a handler."""

    def send_payloads(self, payloads: deque[bytes]) -> int:
        """Send encoded messages from the left of a deque, as long as there is room; return the bytes sent."""

    counts_ahead: bool
    """Whether its messages count before they are sent, and need no further room."""

    def wait_where_full(self, has_more: bool = True) -> asyncio.Future[None] | None:
        """Return a future that is done once there is room; None if there is room, or nothing more can be sent.

        Args:
            has_more: whether a further message waits, which also needs the process's memory.

        Raises:
            Exception: the last message could not be compressed.
        """

    @property
    def has_sent_wraps(self) -> bool:
        """Whether functions of interceptors replace each sent message. These have to be called on the loop."""

async def drive(call: ServerCall) -> None:
    """Run a handler whose answer is a stream: step its generator while there is room for messages."""

async def throw_at_yield(messages: Any) -> None:
    """Raise CancelledError at the current `yield` of an asynchronous generator."""

def throw_at_plain_yield(messages: Any) -> None:
    """Raise CancelledError at the current `yield` of a generator. Call this in the thread that runs it."""

@final
class OnLoop:
    """An asynchronous generator that steps an inline (synchronous) generator on the loop and yields its messages."""

    def __init__(self, messages: Any) -> None: ...
    def __aiter__(self) -> OnLoop: ...
    async def __anext__(self) -> Any: ...
    async def athrow(self, error: BaseException) -> None: ...
    async def aclose(self) -> None: ...
