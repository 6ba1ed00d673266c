"""A `def` generator in a thread of the pool, and its messages on their way to the loop.

::

    thread: step, encode ──► deque ──► loop: send while the stream has room
                  ▲                             │
                  └─── waits while much lies there, until some of it was sent

The loop is woken once for all messages that come before it looks. Only the thread appends and counts what it put, only
the loop takes and counts what it took; whoever waits looks again after saying so.
"""

import asyncio
import threading
from asyncio import CancelledError
from collections import deque
from typing import Any

from fastrpc._core.serving.served_call import ServerCall
from fastrpc.serving.thread_job import ThreadJob
from fastrpc.serving.thread_pool import ThreadPool

__all__ = ["GeneratorJob"]

#: Bytes of messages, and messages, that may lie between a thread and the loop before the thread waits.
_MOST_BYTES = 65_536
_MOST_MESSAGES = 4_096

#: Seconds between two looks of a thread that waits at whether the interpreter ends.
_LOOK_SECONDS = 0.5


class GeneratorJob(ThreadJob):
    """One call of a `def` handler whose answer is a stream."""

    __slots__ = (
        "_is_over",
        "_is_told",
        "_loop",
        "_payloads",
        "_put",
        "_room",
        "_stream",
        "_taken",
        "_waiter",
        "_workers",
    )

    def __init__(self, call: ServerCall, workers: ThreadPool) -> None:
        super().__init__(call, self._generate, self._ended)
        self._stream = call.messages
        self._workers = workers
        self._loop = asyncio.get_running_loop()
        self._payloads: deque[bytes] = deque()
        #: Bytes that the thread appended, and that the loop took.
        self._put = 0
        self._taken = 0
        #: Whether the loop was told that there is something to send and has not looked since.
        self._is_told = False
        self._is_over = False
        self._room = threading.Event()
        self._waiter: asyncio.Future[None] | None = None

    # On the loop

    async def drive(self) -> None:
        """Send the messages until the generator ends; raise what it raises."""
        self._workers.submit(self, stream=True)
        try:
            while True:
                self._is_told = False
                self._taken += self._stream.send_payloads(self._payloads)
                self._room.set()
                room = self._stream.room
                if room is not None:
                    # Also behind the last message: the end of a failed stream replaces what still waits for room.
                    await room
                elif self._payloads:
                    continue
                elif self._is_over:
                    break
                else:
                    self._waiter = self._loop.create_future()
                    if not self._payloads and not self._is_over:
                        await self._waiter
        except BaseException:
            # The thread learns of it at its next `yield`.
            self.is_cancelled = True
            self._room.set()
            raise
        if self._error is not None:
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _ended(self, call: ServerCall, value: Any, error: BaseException | None) -> None:
        self._is_over = True
        # They hold this object as well.
        del self._handler, self._deliver
        self._wake()

    # In the thread

    def _generate(self, *args: Any, **kwargs: Any) -> None:
        messages = self._call.route.handler(*args, **kwargs)
        throw, close = getattr(messages, "throw", None), getattr(messages, "close", None)
        try:
            for value in messages:
                self._hand_over(self._stream.encode(value))
                if self.is_cancelled or self._call.cancelled:
                    if throw is not None:
                        throw(CancelledError())
                    break
        except StopIteration:
            # It took the cancellation as its end.
            pass
        finally:
            if close is not None:
                close()

    def _hand_over(self, payload: bytes) -> None:
        """Give a message to the loop; wait while many lie there."""
        self._payloads.append(payload)
        self._put += len(payload)
        if not self._is_told:
            self._is_told = True
            self._tell()
        while self._is_crowded():
            self._room.clear()
            if (
                self._is_crowded()
                and not self._room.wait(_LOOK_SECONDS)
                and not threading.main_thread().is_alive()
            ):
                self.is_cancelled = True

    def _is_crowded(self) -> bool:
        if self.is_cancelled or self._call.cancelled:
            return False
        return self._put - self._taken >= _MOST_BYTES or len(self._payloads) >= _MOST_MESSAGES

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            # The loop was closed: nobody is there who could send.
            self.is_cancelled = True
