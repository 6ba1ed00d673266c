"""Commands of one event loop, sent by a thread. Commands that arrive during a round trip share the next write.

::

    coroutines ──ask──► commands of this turn ──► queue ──► thread ──pipeline──► server
               ◄────────────── one call of the loop for all answers ◄──┘
"""

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final

from redis import exceptions

from fastrpc.brokers.redis.lua import Script
from fastrpc.errors import BrokerError, copied_error
from fastrpc.registries.redis.server import RedisClient, Word
from fastrpc.status import Status

__all__ = ["ANSWER_ROOM", "RedisLink"]

#: Most bytes that one command may request in its answer; also the most bytes of all commands of one write.
ANSWER_ROOM: Final = 4 * 1024 * 1024

#: _MOST_COMMANDS: the most commands of one write. _MOST_LONG: the most commands with long answers among them, because
#: the client limits the bytes of all answers together.
_MOST_COMMANDS: Final = 512
_MOST_LONG: Final = 4

#: Seconds after which a command may be tried again that the server refused because its memory was full.
_FULL_SECONDS: Final = 1.0

#: Errors by which the server refuses a command before any effect, and a script before its first write. The same command
#: may succeed within seconds.
_PASSING: Final = (
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
)
_PASSING_WORDS: Final = re.compile(r"\b(BUSY|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY)\b")


class _Command:
    __slots__ = ("answer", "kind", "script", "size", "words")

    def __init__(
        self, kind: Any, words: Sequence[Word], script: Script | None, answer: "asyncio.Future[Any]"
    ) -> None:
        self.kind = kind
        self.words = words
        self.script = script
        self.answer = answer
        self.size = sum([len(word) for word in words if not isinstance(word, int | float)])


class RedisLink:
    """A connection for the coroutines of one event loop. Create it on that loop."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        # Commands of this iteration of the loop.
        self._fresh: list[_Command] = []
        self._queue: SimpleQueue[list[_Command] | None] = SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="fastrpc-redis", daemon=True)
        self._thread.start()

    async def ask(self, kind: Any, *words: Word) -> Any:
        """Return the answer to a command.

        Raises:
            BrokerError: the server is unreachable or refuses the command; `processed` says whether it may have run.
        """
        return await self._send(kind, words, None)

    def run(
        self, kind: Any, script: Script, keys: Sequence[str], words: Sequence[Word]
    ) -> "asyncio.Future[Any]":
        """Run a script; return a future of its answer. The future raises the errors of `ask`."""
        return self._send(kind, ("EVALSHA", script.digest, len(keys), *keys, *words), script)

    async def close(self) -> None:
        """Send all waiting commands, and end the thread."""
        if not self._is_closed:
            self._is_closed = True
            self._hand_over()
            self._queue.put(None)
            await self._loop.run_in_executor(None, self._thread.join)
            self._client.close()

    def _send(self, kind: Any, words: Sequence[Word], script: Script | None) -> "asyncio.Future[Any]":
        if self._is_closed:
            raise BrokerError("the broker is closed", processed="no")
        answer: asyncio.Future[Any] = self._loop.create_future()
        if not self._fresh:
            self._loop.call_soon(self._hand_over)
        self._fresh.append(_Command(kind, words, script, answer))
        return answer

    def _hand_over(self) -> None:
        if self._fresh:
            self._queue.put(self._fresh)
            self._fresh = []

    # In the thread

    def _work(self) -> None:
        waiting: list[_Command] = []
        is_over = False
        while waiting or not is_over:
            if not waiting:
                is_over = self._receive(waiting, is_over, self._queue.get)
            while not is_over and len(waiting) < _MOST_COMMANDS:
                try:
                    is_over = self._receive(waiting, is_over, self._queue.get_nowait)
                except Empty:
                    break
            count = _of_one_write(waiting)
            # Drop commands whose callers have stopped waiting.
            commands = [one for one in waiting[:count] if not one.answer.cancelled()]
            del waiting[:count]
            if commands:
                self._tell(commands, self._answers_or_fault(commands))

    @staticmethod
    def _receive(waiting: list[_Command], is_over: bool, get: Callable[[], list[_Command] | None]) -> bool:
        found = get()
        waiting += found or ()
        return is_over or found is None

    def _answers_or_fault(self, commands: Sequence[_Command]) -> list[Any]:
        try:
            answers = self._answers(commands)
            if len(answers) != len(commands):
                raise ValueError(f"{len(answers)} answers to {len(commands)} commands")
            return answers
        except Exception as error:
            # A bug in the client must not end the thread: pass the error to the callers.
            fault = BrokerError(f"Redis: {error!r}", status=Status.INTERNAL)
            fault.__cause__ = error
            return [copied_error(fault) for _ in commands]

    def _answers(self, commands: Sequence[_Command]) -> list[Any]:
        answers = self._client.pipeline([(one.kind, one.words) for one in commands])
        unknown = [index for index, one in enumerate(answers) if _has_cause(one, exceptions.NoScriptError)]
        if unknown:
            # The server has restarted and lacks the scripts: load them, then repeat their commands in the same order.
            texts = {
                one.script.text for one in (commands[index] for index in unknown) if one.script is not None
            }
            loads = [(bytes, ("SCRIPT", "LOAD", text)) for text in texts]
            again = [(commands[index].kind, commands[index].words) for index in unknown]
            found = self._client.pipeline([*loads, *again])[len(loads) :]
            for index, answer in zip(unknown, found, strict=True):
                answers[index] = answer
        return [_told(one) if isinstance(one, BrokerError) else one for one in answers]

    def _tell(self, commands: Sequence[_Command], answers: Sequence[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(_settle, commands, answers)
        except RuntimeError:
            # If the loop is closed, no caller waits any more.
            if not self._loop.is_closed():
                raise


def _of_one_write(commands: Sequence[_Command]) -> int:
    """Return the number of leading commands that fit the limits of one write and of its answers."""
    size = long = 0
    for index, command in enumerate(commands):
        size += command.size
        long += command.kind is list
        if index and (index >= _MOST_COMMANDS or size > ANSWER_ROOM or long > _MOST_LONG):
            return index
    return len(commands)


def _settle(commands: Sequence[_Command], answers: Sequence[Any]) -> None:
    for command, answer in zip(commands, answers, strict=True):
        if command.answer.done():
            continue
        if isinstance(answer, BrokerError):
            command.answer.set_exception(answer)
        else:
            command.answer.set_result(answer)


def _has_cause(answer: Any, kind: type[Exception]) -> bool:
    return isinstance(answer, BrokerError) and isinstance(answer.__cause__, kind)


def _told(error: BrokerError) -> BrokerError:
    """Return a copy of an error with `processed` and `retryable` set, which decide whether the command is repeated."""
    told = copied_error(error)
    assert isinstance(told, BrokerError)
    cause = error.__cause__
    if error.status in (Status.PERMISSION_DENIED, Status.UNAUTHENTICATED, Status.INVALID_ARGUMENT):
        told.processed = "no"
    elif isinstance(cause, exceptions.OutOfMemoryError) or "OOM command" in error.message:
        told.status, told.retry_after = Status.RESOURCE_EXHAUSTED, _FULL_SECONDS
        told.processed, told.retryable = "no", True
    elif isinstance(cause, _PASSING) or _PASSING_WORDS.search(error.message):
        told.processed, told.retryable = "no", True
    elif not isinstance(cause, exceptions.ResponseError):
        # The server is unreachable, or its answer was lost.
        told.retryable = True
    return told
