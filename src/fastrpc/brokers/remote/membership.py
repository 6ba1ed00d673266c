"""A membership over a stream of `fastrpc.broker`."""

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import Any

import msgspec

from fastrpc.brokers.base import AcksTold, Delivery, GroupSettings
from fastrpc.brokers.base.checks import check_pause
from fastrpc.brokers.base.places import text_of
from fastrpc.brokers.remote.faults import BROKER_ERRORS
from fastrpc.brokers.remote.messages import (
    ConsumeRequest,
    ConsumeResult,
    DeliveredMessage,
    Settlement,
    SettlementFailure,
    Verb,
)
from fastrpc.brokers.remote.service import BrokerService
from fastrpc.brokers.remote.task_signal import TaskSignal
from fastrpc.cancelling import cancelled
from fastrpc.client.client import Client
from fastrpc.errors import BrokerError, FastRPCError, StreamEndedError, copied_error
from fastrpc.status import Status
from fastrpc.user_code import as_error

__all__ = ["RemoteMembership"]


class _Held(msgspec.Struct, eq=False):
    """The token of a delivery: a message that has to be settled."""

    number: int
    is_lost: bool = False

    #: The pending answer to the settlement; None before the settlement and after the answer was passed on.
    answer: "asyncio.Future[bool] | _Answers | None" = None


class _Answers:
    """One answer that the messages of several acks share, instead of a future for each message.

    Args:
        tell: called with the result of `ack_many`, or with an error.
    """

    __slots__ = ("_asked", "_failure", "_left", "_tell")

    def __init__(self, tell: AcksTold) -> None:
        # The messages in order; None for a message that was not held.
        self._asked: list[_Held | None] = []
        self._left = 0
        self._tell = tell
        self._failure: BrokerError | None = None

    def begin(self, tokens: Sequence[_Held], held: Mapping[int, _Held]) -> list[int]:
        """Become the answer of the messages that are held and not being settled; return the numbers of these."""
        numbers = []
        for token in tokens:
            if token.answer is None and held.get(token.number) is token:
                token.answer = self
                numbers.append(token.number)
                self._asked.append(token)
            else:
                self._asked.append(None)
        self._left = len(numbers)
        return numbers

    def done(self) -> bool:
        """Return whether the result was passed on."""
        return not self._left

    def set_result(self, is_kept: bool) -> None:
        """Record the answer for one message."""
        self._left -= 1
        if not self._left:
            settled = [token is not None and not token.is_lost for token in self._asked]
            self._tell(settled, self._failure)

    def set_exception(self, error: BrokerError) -> None:
        """Record the failure of one message. The first failure is the error of all."""
        if self._failure is None:
            self._failure = error
        self.set_result(False)


class _Take:
    """A waiting take and its batch."""

    __slots__ = ("answer", "found")

    def __init__(self) -> None:
        self.found: list[Delivery] = []
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class RemoteMembership:
    """One member of a group.

    ::

        take, ack, … ──► requests of one loop iteration ──► one ConsumeRequest
        take, ack, … ◄── answers ◄── read ◄── ConsumeResult

    One task opens and reads the stream, another task sends.
    """

    def __init__(self, client: Client, settings: GroupSettings) -> None:
        self._client = client
        self._settings = settings
        self._held: dict[int, _Held] = {}
        # Only one take is sent at a time; further takes wait.
        self._take_turn = asyncio.Lock()
        self._take: _Take | None = None
        # True if a take was cancelled and its batch may still arrive.
        self._is_withdrawing = False
        self._idle = asyncio.Event()
        # The next request.
        self._wanted: int | None = None
        self._acks: list[int] = []
        self._may_wait = True
        self._settlements: list[Settlement] = []
        self._has_requests = TaskSignal()
        self._is_leaving = False
        self._joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failure: Exception | None = None
        #: The task that ends with the membership. Its context is empty, so the caller's deadline does not apply.
        self.task = asyncio.get_running_loop().create_task(self._run(), context=Context())
        self.task.add_done_callback(self._on_end)

    async def join(self) -> None:
        """Wait until the server has accepted the member.

        Raises:
            ConfigError: the group has another pattern or order, or no topic covers the pattern.
            BrokerError: the broker is unreachable, or refuses the member.
        """
        try:
            await asyncio.shield(self._joined)
        except asyncio.CancelledError:
            self.task.cancel()
            raise
        self._check()

    async def take(self, most: int) -> Sequence[Delivery]:
        """Wait for messages, and return at least one."""
        async with self._take_turn:
            while True:
                self._check()
                found = await self._taken(most)
                # A seek may have made some messages lost in the meantime.
                found = [one for one in found if not one.token.is_lost]
                if found:
                    return found

    async def _taken(self, most: int) -> Sequence[Delivery]:
        while self._is_withdrawing:
            self._idle.clear()
            await self._idle.wait()
            self._check()
        take = self._take = _Take()
        self._wanted = most
        self._has_requests.set()
        try:
            await take.answer
        except asyncio.CancelledError:
            self._withdraw()
            self._hand_back(take.found)
            raise
        finally:
            self._take = None
        return take.found

    def is_lost(self, token: Any) -> bool:
        """Return whether another member may already have the message, as last reported by the broker."""
        return bool(token.is_lost)

    async def ack(self, token: Any) -> bool:
        """Settle a message."""
        if not self._holds(token):
            return False
        self._acks.append(token.number)
        self._may_wait = False
        return await self._answer(token)

    async def ack_many(self, tokens: Sequence[Any]) -> Sequence[bool]:
        """Settle messages."""
        ended: asyncio.Future[Sequence[bool]] = asyncio.get_running_loop().create_future()
        self.begin_acks(tokens, partial(_end_wait, ended), may_wait=False)
        return await ended

    def begin_acks(self, tokens: Sequence[Any], tell: AcksTold, *, may_wait: bool) -> None:
        """Settle messages."""
        answers = _Answers(tell)
        acks = answers.begin(tokens, self._held)
        if not acks:
            tell([False] * len(tokens), None)
            return
        self._acks += acks
        self._may_wait = self._may_wait and may_wait
        self._has_requests.set()

    async def nack(self, token: Any, delay: float) -> bool:
        """Deliver a message again after `delay` seconds. The current delivery counts."""
        check_pause(delay)
        return await self._settled(token, "nack", delay)

    async def reject(self, token: Any, reason: str, error: str) -> bool:
        """Make a message a dead letter of the group."""
        return await self._settled(token, "reject", 0.0, reason, error)

    async def hand_back(self, token: Any) -> bool:
        """Deliver a message again immediately. The current delivery does not count."""
        return await self._settled(token, "hand_back")

    async def close(self) -> None:
        """Hand back the messages that no take has returned; then leave the group."""
        if not self._is_leaving:
            self._is_leaving = True
            if self._take is not None:
                # This covers a take that was cancelled but has not run since.
                self._withdraw()
                if not self._take.answer.done():
                    self._take.answer.set_exception(_left())
            self._has_requests.set()
        try:
            await asyncio.wait([self.task])
        finally:
            self.task.cancel()

    # Requests

    def _holds(self, token: _Held) -> bool:
        return token.answer is None and self._held.get(token.number) is token

    async def _settled(
        self, token: _Held, verb: Verb, delay: float = 0.0, reason: str = "", error: str = ""
    ) -> bool:
        if not self._holds(token):
            return False
        self._settlements.append(Settlement(token.number, verb, delay, _utf8(reason), _utf8(error)))
        return await self._answer(token)

    async def _answer(self, token: _Held) -> bool:
        token.answer = asyncio.get_running_loop().create_future()
        self._has_requests.set()
        return await token.answer

    def _hand_back(self, found: Sequence[Delivery]) -> None:
        """Hand back messages that no take has returned."""
        self._settlements += [Settlement(one.token.number, "hand_back") for one in found]
        self._has_requests.set()

    def _withdraw(self) -> None:
        """Withdraw the request for messages, and hand back a batch that still arrives."""
        if self._wanted:
            # The request was not sent yet.
            self._wanted = None
        elif self._failure is None and not self._is_withdrawing:
            self._is_withdrawing = True
            self._wanted = 0
            self._has_requests.set()

    def _next_request(self) -> ConsumeRequest | None:
        if self._wanted is None and not self._acks and not self._settlements:
            return None
        request = ConsumeRequest(self._wanted, self._acks, self._settlements, self._may_wait)
        self._wanted, self._acks, self._settlements, self._may_wait = None, [], [], True
        return request

    # The stream

    async def _run(self) -> None:
        group = self._settings
        arguments = (group.pattern, group.name, text_of(group.start), group.is_ordered)
        async with self._client.open(BrokerService.consume, *arguments) as stream:
            await stream.receive()
            self._joined.set_result(None)
            sending = asyncio.ensure_future(self._send(stream))
            sending.add_done_callback(self._on_sent)
            try:
                while True:
                    for result in await stream.receive_many():
                        self._note(result)
            except StreamEndedError:
                # The server ends the stream after the last request.
                return
            finally:
                await cancelled([sending])

    async def _send(self, stream: Any) -> None:
        while True:
            await self._has_requests.wait()
            self._has_requests.clear()
            # Send all requests of this iteration of the loop.
            while (request := self._next_request()) is not None:
                await stream.send(request)
            if self._is_leaving and not self._is_withdrawing:
                await stream.end()
                return

    def _on_sent(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
            self.task.cancel()

    def _note(self, result: ConsumeResult) -> None:
        if result.deliveries:
            self._receive(result.deliveries, has_more=result.has_more)
        if result.is_idle:
            self._is_withdrawing = False
            self._idle.set()
            self._has_requests.set()
        self._conclude(result.kept, is_kept=True)
        self._conclude(result.lost, is_kept=False)
        for failure in result.failures:
            self._refuse(failure)

    def _receive(self, messages: Sequence[DeliveredMessage], *, has_more: bool) -> None:
        found = []
        for one in messages:
            token = self._held[one.number] = _Held(one.number)
            found.append(_delivery(one, token))
        take = self._take
        if self._is_withdrawing or take is None:
            self._hand_back(found)
            return
        take.found += found
        if not has_more and not take.answer.done():
            take.answer.set_result(None)

    def _conclude(self, numbers: Sequence[int], *, is_kept: bool) -> None:
        for number in numbers:
            token = self._held.pop(number, None)
            if token is None:
                continue
            token.is_lost = not is_kept
            # Break the reference cycle of token and answer, so that the message is freed without the garbage collector.
            answer, token.answer = token.answer, None
            if answer is not None and not answer.done():
                answer.set_result(is_kept)

    def _refuse(self, failure: SettlementFailure) -> None:
        token = self._held.get(failure.number)
        if token is not None:
            answer, token.answer = token.answer, None
            if answer is not None and not answer.done():
                answer.set_exception(
                    BrokerError(
                        failure.message,
                        status=Status[failure.status],
                        processed="no",
                        retryable=failure.retryable,
                    )
                )

    # The end

    def _check(self) -> None:
        if self._failure is not None:
            raise copied_error(self._failure)
        if self._is_leaving:
            raise _left()

    def _on_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)
        elif self._is_leaving or task.cancelled():
            self._fail(_left())
        else:
            self._fail(BrokerError("the broker has ended the membership", processed="no", retryable=True))
        if not self._joined.done():
            self._joined.set_result(None)
        assert self._failure is not None
        if self._take is not None and not self._take.answer.done():
            self._take.answer.set_exception(copied_error(self._failure))
        self._is_withdrawing = False
        self._idle.set()
        for token in self._held.values():
            token.is_lost = True
            answer, token.answer = token.answer, None
            if answer is not None and not answer.done():
                answer.set_exception(_unanswered(self._failure))
        self._held.clear()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            told = BROKER_ERRORS.of(error) if isinstance(error, FastRPCError) else error
            self._failure = as_error(told, "the stream of a membership")


def _delivery(one: DeliveredMessage, token: _Held) -> Delivery:
    return Delivery(
        one.topic,
        one.body,
        one.key,
        one.id,
        one.sequence,
        one.headers,
        one.publisher,
        one.published_at,
        one.delivery,
        token,
    )


def _end_wait(
    ended: "asyncio.Future[Sequence[bool]]", settled: Sequence[bool], error: BrokerError | None
) -> None:
    """Wake the caller that waits for its acks, except if it was cancelled."""
    if ended.done():
        return
    if error is None:
        ended.set_result(settled)
    else:
        ended.set_exception(error)


def _utf8(text: str) -> str:
    """Replace characters that UTF-8 cannot encode: errors may contain file names with any bytes."""
    return text.encode(errors="backslashreplace").decode()


def _unanswered(failure: Exception) -> BrokerError:
    """Return the error of a settlement whose answer was lost."""
    return BrokerError(
        f"the broker has not confirmed the end of a message: {failure}",
        processed="unknown",
        retryable=getattr(failure, "retryable", False),
    )


def _left() -> BrokerError:
    return BrokerError("the member has left its group", processed="no")
