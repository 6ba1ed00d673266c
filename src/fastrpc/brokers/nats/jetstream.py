"""Requests over one connection to JetStream. All answers arrive in one inbox.

nats-py starts a timer and reads random bytes for each request; here one timer serves all requests.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from itertools import count, takewhile
from typing import Any, Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.errors import APIError

from fastrpc.registries.nats.connection import ANSWER_SECONDS

__all__ = ["NOT_FOUND", "JetStream", "UnsentError", "answer_in", "heard", "status_of"]

#: Codes of errors.
NOT_FOUND: Final = frozenset({10059, 10014, 10037})

_NO_RESPONDERS: Final = "503"

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class UnsentError(Exception):
    """Raised if a request was not sent. `__cause__` has the reason."""


class JetStream:
    """Sends requests to the server over one connection.

    Args:
        on_silence: called when a request has timed out and no answer has arrived since it was sent.
    """

    def __init__(self, client: Client, on_silence: Callable[["JetStream"], None]) -> None:
        self.client = client
        self._on_silence = on_silence
        self._prefix = f"{client.new_inbox()}."
        self._numbers = count(1)
        # Requests by number, the oldest first. A request whose caller has stopped waiting stays until its answer or its
        # timeout.
        self._waiting: dict[str, tuple[asyncio.Future[Msg], float]] = {}
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._answered_at = self._now()
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None

    async def start(self) -> None:
        """Subscribe to the inbox."""
        await self.subscribe(f"{self._prefix}*", self._on_answer)

    async def subscribe(self, subject: str, receive: Callable[[Msg], Any]) -> Any:
        """Subscribe to a subject without a limit of pending messages, as only requested messages arrive."""
        return await self.client.subscribe(subject, cb=receive, pending_msgs_limit=0, pending_bytes_limit=0)

    async def ask(self, subject: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Msg:
        """Return the answer to a request.

        Raises:
            UnsentError: the request was not sent. nats.errors.NoRespondersError: no stream or consumer listens at the
            subject. nats.errors.Error, OSError, TimeoutError: it may have arrived.
        """
        return heard(await (await self.send(subject, body, headers)))

    async def send(
        self, subject: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> "asyncio.Future[Msg]":
        """Send a request; return a future of its answer, to be passed to `heard`. UnsentError: it was not sent."""
        number = f"{next(self._numbers):x}"
        try:
            if self._error is not None:
                raise self._error
            await self.client.publish(subject, body, self._prefix + number, headers)
        except Exception as error:
            raise UnsentError from error
        future: asyncio.Future[Msg] = self._loop.create_future()
        self._waiting[number] = future, self._now()
        if self._timer is None:
            self._timer = self._loop.call_later(1.0, self._look)
        return future

    async def api(self, verb: str, **body: Any) -> dict[str, Any]:
        """Return the answer of the API of JetStream.

        Raises:
            nats.js.errors.APIError: JetStream refuses the request. Also raises the errors of `ask`.
        """
        return answer_in(await self.ask(f"$JS.API.{verb}", json.dumps(body).encode()))

    async def find(self, verb: str, **body: Any) -> dict[str, Any] | None:
        """Return the answer of the API; None if the stream, consumer or message is missing."""
        try:
            return await self.api(verb, **body)
        except APIError as error:
            if error.err_code in NOT_FOUND:
                return None
            raise

    async def listed(self, subject: str) -> list[dict[str, Any]]:
        """Return the streams that have a subject covered by the given subject."""
        found: list[dict[str, Any]] = []
        while True:
            page = await self.api("STREAM.LIST", subject=subject, offset=len(found))
            found += page["streams"] or ()
            if not page["streams"] or len(found) >= page["total"]:
                return found

    async def read(self, stream: str) -> list[Msg]:
        """Return all messages of a stream."""
        found: list[Msg] = []
        status: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def receive(message: Msg) -> None:
            if (told := status_of(message)) is None:
                found.append(message)
            elif not status.done():
                status.set_result(told)

        config = {"ack_policy": "none", "mem_storage": True, "num_replicas": 1, "inactive_threshold": 10**10}
        made = await self.api(f"CONSUMER.CREATE.{stream}", stream_name=stream, config=config)
        place, inbox = f"{stream}.{made['name']}", self.client.new_inbox()
        subscription = await self.subscribe(inbox, receive)
        try:
            # Request one message more than exist, so that the server reports the end.
            request = json.dumps({"batch": made["num_pending"] + 1, "no_wait": True}).encode()
            await self.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{place}", request, inbox)
            await status
        finally:
            await subscription.unsubscribe()
        await self.find(f"CONSUMER.DELETE.{place}")
        return found

    def fail(self, error: Exception) -> None:
        """End all requests with an error, because the connection is lost."""
        self._error = self._error or error
        if self._timer is not None:
            self._timer.cancel()
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()

    @property
    def is_lost(self) -> bool:
        """True if the connection is lost."""
        return self._error is not None or self.client.is_closed

    async def _on_answer(self, message: Msg) -> None:
        self._answered_at = self._now()
        waiting = self._waiting.pop(message.subject[len(self._prefix) :], None)
        if waiting is not None and not waiting[0].done():
            waiting[0].set_result(message)

    def _look(self) -> None:
        """End requests that have timed out. The timer runs while there are requests."""
        self._timer = None
        end = self._now() - ANSWER_SECONDS
        late = list(takewhile(lambda one: one[1][1] <= end, self._waiting.items()))
        for number, (future, sent_at) in late:
            # The callback below may end all other requests.
            self._waiting.pop(number, None)
            if not future.done():
                future.set_exception(TimeoutError(f"no answer within {ANSWER_SECONDS:g} s"))
                if self._answered_at < sent_at:
                    self._on_silence(self)
        if self._waiting and self._error is None:
            self._timer = self._loop.call_later(1.0, self._look)


def heard(answer: Msg) -> Msg:
    """Return an answer. NoRespondersError: no stream or consumer listens at the subject."""
    if answer.headers is not None and status_of(answer) == _NO_RESPONDERS:
        raise NoRespondersError
    return answer


def answer_in(message: Msg) -> dict[str, Any]:
    """Return the JSON of an answer. APIError: JetStream refused the request."""
    found = _decode(message.data)
    if (error := found.get("error")) is not None:
        raise APIError(**error)
    return found


def status_of(message: Msg) -> str | None:
    """Return the status of a message that the server itself sent; None for any other message."""
    # A message of a stream differs: it has a reply subject, for its acknowledgement.
    return None if message.headers is None or message.reply else message.headers.get("Status")
