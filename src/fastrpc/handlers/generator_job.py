"""Run a `def` generator in a thread of the pool, and pass its messages to the loop.

::

    thread: step, encode ──► deque ──► loop: send while the stream has room
                  ▲                             │
                  └─── waits while many messages are queued, until some are sent

The loop is woken once for all messages that are queued before it checks the deque. Only the thread appends messages and
counts the appended bytes; only the loop removes messages and counts the removed bytes. A side that is about to wait
announces this, then checks once more.

Functions with which interceptors wrap messages run on the loop, as for every handler. If there are any, the thread does
not encode its messages: it waits until the loop has encoded them.
"""

import threading
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable
from typing import Any

from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_stream import throw_at_plain_yield
from fastrpc.handlers.thread_job import AwaitedJob
from fastrpc.handlers.thread_pool import ThreadPool

__all__ = ["GeneratorJob"]

#: The most bytes (_MOST_BYTES) and messages (_MOST_MESSAGES) between a thread and the loop. Above these the thread
#: waits.
_MOST_BYTES = 65_536
_MOST_MESSAGES = 4_096

#: Interval at which a waiting thread checks whether the interpreter is ending.
_LOOK_SECONDS = 0.5


class _Wrapped:
    """A message that the loop encodes for the thread, and the result."""

    __slots__ = ("error", "message", "payload")

    def __init__(self, message: Any) -> None:
        self.message = message
        self.payload: bytes | None = None
        self.error: BaseException | None = None


class GeneratorJob(AwaitedJob):
    """One call of a `def` handler whose answer is a stream."""

    __slots__ = ("_encode", "_is_told", "_payloads", "_put", "_room", "_stream", "_taken", "_wrapped")

    def __init__(self, call: ServerCall, workers: ThreadPool) -> None:
        super().__init__(call, self._generate, workers)
        self._stream = call.messages
        # `bind` raises if an interceptor calls `proceed` a second time, as the caller would get the messages of both
        # runs.
        self._given = self._stream.bound()
        self._encode = self._encode_on_loop if self._stream.has_sent_wraps else self._stream.encoded
        self._payloads: deque[bytes] = deque()
        #: `_put` counts the bytes that the thread has appended, `_taken` the bytes that the loop has removed.
        self._put = 0
        self._taken = 0
        #: Whether the loop was notified of work and has not checked the deque since.
        self._is_told = False
        self._wrapped: _Wrapped | None = None
        self._room = threading.Event()

    # On the loop

    async def drive(self) -> None:
        """Send the messages until the generator ends; raise its exception."""
        self._workers.submit(self, stream=True, priority=self._call.priority)
        try:
            while True:
                self._is_told = False
                self._encode_wrapped()
                self._taken += self._stream.send_payloads(self._payloads)
                self._room.set()
                if not self._payloads and not self._is_over:
                    await self._change()
                    continue
                # Wait for room even after the last message. Otherwise a failure of the generator would drop the
                # messages that still wait.
                room = self._stream.wait_where_full(bool(self._payloads))
                if room is not None:
                    await room
                elif self._is_over and not self._payloads:
                    break
        except BaseException as error:
            await self._stop(error)
            raise
        if self._error is not None:
            raise self._error

    async def _change(self) -> None:
        if not (self._payloads or self._wrapped or self._is_over) or self.is_cancelled:
            await super()._change()

    def _cancel(self) -> None:
        # The thread notices the cancellation at its next `yield`.
        super()._cancel()
        self._room.set()

    def _encode_wrapped(self) -> None:
        """Encode the message for which the thread waits."""
        wrapped, self._wrapped = self._wrapped, None
        if wrapped is not None:
            try:
                wrapped.payload = self._stream.encoded(wrapped.message)
            except BaseException as error:
                wrapped.error = error
            self._room.set()

    # In the thread

    def _generate(self, *args: Any, **kwargs: Any) -> None:
        messages = self._call.route.handler(*args, **kwargs)
        try:
            for message in messages:
                try:
                    self._hand_over(self._encode(message))
                except BaseException:
                    throw_at_plain_yield(messages)
                    raise
        finally:
            close = getattr(messages, "close", None)
            if close is not None:
                close()

    def _hand_over(self, payload: bytes) -> None:
        """Pass a message to the loop; wait while many messages are queued.

        Raises:
            CancelledError: no further message is wanted.
        """
        self._payloads.append(payload)
        self._put += len(payload)
        self._tell()
        self._wait_while(self._is_crowded)

    def _encode_on_loop(self, message: Any) -> bytes:
        wrapped = self._wrapped = _Wrapped(message)
        self._tell()
        self._wait_while(lambda: wrapped.payload is None and wrapped.error is None)
        if wrapped.error is not None:
            raise wrapped.error
        assert wrapped.payload is not None
        return wrapped.payload

    def _is_crowded(self) -> bool:
        return self._put - self._taken >= _MOST_BYTES or len(self._payloads) >= _MOST_MESSAGES

    def _tell(self) -> None:
        """Notify the loop, unless it is notified already."""
        if self._is_told:
            return
        self._is_told = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            # The loop was closed: nothing can be sent.
            self.is_cancelled = True

    def _wait_while(self, condition: Callable[[], bool]) -> None:
        """Wait for the loop; raise CancelledError once the call is cancelled."""
        while not self._is_stopped() and condition():
            self._room.clear()
            if (
                not self._is_stopped()
                and condition()
                and not self._room.wait(_LOOK_SECONDS)
                and not threading.main_thread().is_alive()
            ):
                self.is_cancelled = True
        if self._is_stopped():
            raise CancelledError

    def _is_stopped(self) -> bool:
        return self.is_cancelled or self._call.cancelled
