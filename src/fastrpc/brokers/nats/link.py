"""The connection of a broker to JetStream. It turns errors of NATS into BrokerError."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import BadHeaderError, ConnectionClosedError, MaxPayloadError, NoRespondersError
from nats.js.errors import APIError

from fastrpc.brokers.base import MESSAGE_BYTES, BrokerLimits
from fastrpc.brokers.local.counts import TopicCounts
from fastrpc.brokers.nats.jetstream import JetStream, UnsentError, answer_in, heard
from fastrpc.brokers.nats.names import SubjectNames
from fastrpc.brokers.nats.options import NatsOptions
from fastrpc.brokers.nats.sync import check_sync
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.registries.nats.connection import FAILURES, NatsAccess, NatsConnection
from fastrpc.status import Status

__all__ = ["BATCH_ID", "BATCH_NUMBER", "LIMITS", "JetStreamLink"]

T = TypeVar("T")

logger = logging.getLogger("fastrpc.broker")

#: The abilities with nats-server 2.12 or later.
LIMITS: Final = BrokerLimits(
    "nats", ordered_at_once=1, hands_back_uncounted=False, ends_by_itself=True, finds_repeats=True
)

#: The oldest supported server version: the first with pauses of consumers and with batches of direct reads.
_OLDEST: Final = (2, 11)
#: The first server version with delayed messages and with atomic batches.
_WITH_LATER: Final = (2, 12)

#: Error codes of JetStream if a stream, the account or the disk is full.
_FULL: Final = frozenset({10002, 10023, 10028, 10047, 10077, 10161})

#: Error codes of JetStream for a batch: parts were lost with a connection or a restart; too many batches are open.
_BATCH_ENDED: Final = frozenset({10176, 10210})

#: Headers of the messages of a batch.
BATCH_ID: Final = "Nats-Batch-Id"
BATCH_NUMBER: Final = "Nats-Batch-Sequence"

#: A sequence number beyond every batch.
_BEYOND: Final = "1000000"

_UNAVAILABLE: Final = 503

#: Most bytes in the send buffer of nats-py with which a request still counts as sent immediately: half of its limit.
_PENDING_BYTES: Final = 1024 * 1024


class JetStreamLink:
    """Sends requests to JetStream, and connects again after each loss of the connection."""

    def __init__(self, access: NatsAccess, options: NatsOptions) -> None:
        self.options = options
        self.names = SubjectNames(options.base)
        self.limits = LIMITS
        #: Most bytes of a message with its headers that the server accepts.
        self.most_bytes = MESSAGE_BYTES
        self._access = access
        self._connection = NatsConnection(access, self._enter)
        self._connection.listeners.add(self._on_loss)
        self._present: JetStream | None = None
        self._is_sync_checked = False
        #: True if the link is closed: it sends no more requests.
        self.is_closed = False
        #: The counters of messages that this process published and settled, by topic.
        self.counts: defaultdict[str, TopicCounts] = defaultdict(TopicCounts)
        #: Called when the connection is lost.
        self.listeners: set[Callable[[], None]] = set()
        # `_tasks` are never cancelled. `_drains` end subscriptions, and are cancelled when the link closes.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._drains: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Close the connection for good."""
        self.is_closed = True
        self._connection.end()
        await self._connection.drop()
        self._on_loss()
        # Without a connection a drain would wait forever. Cancelling it is safe now: the reader has stopped.
        for drain in self._drains:
            drain.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def connected(self) -> JetStream:
        """Return the present connection, or connect.

        Raises:
            BrokerError: no server can be reached.
            ConfigError: the server lacks a feature that the URL requires.
        """
        if self.is_closed:
            raise BrokerError("the broker is closed", processed="no")
        try:
            stream = await self._connection.entered()
            if stream.is_lost:
                # The connection was abandoned but is not closed yet.
                await self._connection.drop()
                stream = await self._connection.entered()
            return stream
        except BrokerError as error:
            error.processed = "no"
            raise

    async def ask(self, subject: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Msg:
        """Return the answer to a request.

        Raises:
            BrokerError: the server is unreachable; `processed` says whether the request may have arrived.
            nats.errors.NoRespondersError: no stream or consumer listens at the subject.
        """
        stream = self._present
        if stream is None:
            stream = await self.connected()
        try:
            return await stream.ask(subject, body, headers)
        except UnsentError as error:
            raise self.failure(error.__cause__ or error, processed="no") from error.__cause__
        except NoRespondersError:
            raise
        except FAILURES as error:
            raise self.failure(error) from error

    async def ask_each(self, subjects: Sequence[str], body: bytes) -> list[Exception | None]:
        """Send the same request to each subject. Return for each None after an answer, or the error of `ask`."""
        stream = self._present or await self.connected()
        asked: list[asyncio.Future[Msg] | UnsentError] = []
        for subject in subjects:
            try:
                asked.append(await stream.send(subject, body))
            except UnsentError as error:
                asked.append(error)
        return [await self._outcome(one) for one in asked]

    async def _outcome(self, asked: "asyncio.Future[Msg] | UnsentError") -> Exception | None:
        if isinstance(asked, UnsentError):
            return self.failure(asked.__cause__ or asked, processed="no")
        try:
            heard(await asked)
        except NoRespondersError as error:
            failure: Exception = error
            return failure
        except FAILURES as error:
            return self.failure(error)
        return None

    def is_ready(self, size: int) -> bool:
        """Return whether a request of this size would be sent immediately."""
        stream = self._present
        return stream is not None and bool(stream.client.pending_data_size + size <= _PENDING_BYTES)

    async def api(self, verb: str, **body: Any) -> dict[str, Any]:
        """Return the answer of the API of JetStream. BrokerError: it refuses the request or is unreachable."""
        return await self._managed(lambda stream: stream.api(verb, **body))

    async def find(self, verb: str, **body: Any) -> dict[str, Any] | None:
        """Return the answer of the API; None if the object is missing. Raises the errors of `api`."""
        return await self._managed(lambda stream: stream.find(verb, **body))

    async def listed(self, subject: str) -> list[dict[str, Any]]:
        """Return the streams that have a subject covered by the given subject. Raises the errors of `api`."""
        return await self._managed(lambda stream: stream.listed(subject))

    async def server_time(self, stream: str) -> datetime:
        """Return the time of day of the server, or a slightly later time. Raises the errors of `api`."""
        # The loop's clock, since the wall clock may jump in between.
        clock = asyncio.get_running_loop().time
        began = clock()
        # Each answer about a stream has the server's time.
        found = await self.api(f"STREAM.INFO.{stream}")
        return datetime.fromisoformat(found["ts"]) + timedelta(seconds=clock() - began)

    async def read(self, stream: str) -> list[Msg]:
        """Return all messages of a stream. Raises the errors of `api`."""
        return await self._managed(lambda connection: connection.read(stream))

    async def kept(self, subject: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """Publish a message to a stream; return the answer. Raises the errors of `ask`. BrokerError: it is refused."""
        try:
            return answer_in(await self.ask(subject, body, headers))
        except APIError as error:
            raise self.refused(error) from error

    async def kept_batch(self, messages: Sequence[tuple[str, bytes, Mapping[str, str]]]) -> dict[str, Any]:
        """Publish a batch and return the answer to its last message. Raises the errors of `kept`."""
        first, *others = messages
        stream = await self.connected()
        try:
            told = await stream.ask(*first)
            if told.data:
                answer_in(told)
            for subject, body, headers in others[:-1]:
                await stream.client.publish(subject, body, "", headers)
            return answer_in(await stream.ask(*others[-1]) if others else told)
        except asyncio.CancelledError:
            await self._abandon(stream, first[0], first[2])
            raise
        except APIError as error:
            raise self.refused(error) from error
        except UnsentError as error:
            raise self.failure(error.__cause__ or error, processed="no") from error.__cause__
        except NoRespondersError:
            raise
        except FAILURES as error:
            raise self.failure(error) from error

    async def _abandon(self, stream: JetStream, subject: str, headers: Mapping[str, str]) -> None:
        """End a batch that was not committed. The server would keep it open for 10 s, and allows 50 batches per stream.

        A message with a sequence number beyond every batch ends it. A batch that was committed in the meantime stays.
        """
        ended = {BATCH_ID: headers[BATCH_ID], BATCH_NUMBER: _BEYOND}
        try:
            await stream.client.publish(subject, b"", "", ended)
        except FAILURES as error:
            logger.debug("a batch is not ended: %s", error)

    def refused(self, error: APIError) -> BrokerError:
        """Return the BrokerError for a refusal of JetStream."""
        told = self._access.failure(error).message
        if error.err_code in _FULL:
            return BrokerError(
                told,
                status=Status.RESOURCE_EXHAUSTED,
                processed="no",
                retryable=True,
                retry_after=1.0,
                hint="raise max_bytes of the topic, or the limits of server and account, which reserve max_bytes of "
                "each topic",
            )
        is_away = error.code == _UNAVAILABLE or error.err_code in _BATCH_ENDED
        status = Status.UNAVAILABLE if is_away else Status.FAILED_PRECONDITION
        return BrokerError(told, status=status, processed="no", retryable=is_away)

    def failure(self, error: BaseException, *, processed: Any = "unknown") -> BrokerError:
        """Return the BrokerError for an error of the connection."""
        told = self._connection.failure(error)
        assert isinstance(told, BrokerError)
        if isinstance(error, MaxPayloadError | BadHeaderError):
            told = BrokerError(told.message, status=Status.INVALID_ARGUMENT)
        told.processed = processed
        return told

    async def drained(self, subscription: Any) -> None:
        """End a subscription after all its messages were received. Raises the errors of `ask`."""
        # The drain runs in a separate task, since cancelling it breaks nats-py: the reader of the connection stops with
        # an error when it sets the result of the cancelled future.
        task = self._begun(subscription.drain())
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)
        await asyncio.wait([task])
        try:
            if not task.cancelled():
                task.result()
        except FAILURES as error:
            raise self.failure(error) from error

    def _begun(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_end)
        return task

    def _on_end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("the connection to NATS ended meanwhile: %s", error)

    async def _managed(self, work: Callable[[JetStream], Awaitable[T]]) -> T:
        try:
            return await work(await self.connected())
        except APIError as error:
            raise self.refused(error) from error
        except UnsentError as error:
            raise self.failure(error.__cause__ or error, processed="no") from error.__cause__
        except NoRespondersError as error:
            raise self.failure(error, processed="no") from error
        except FAILURES as error:
            raise self.failure(error) from error

    async def _enter(self, client: Client) -> JetStream:
        self._check(client)
        if self.options.sync == "full" and not self._is_sync_checked:
            await check_sync(self.options.monitors)
            self._is_sync_checked = True
        stream = JetStream(client, self._on_silence)
        await stream.start()
        self._present = stream
        return stream

    def _check(self, client: Client) -> None:
        found = client.connected_server_version
        version = (found.major, found.minor)
        if version < _OLDEST:
            raise ConfigError(
                f"the server of nats:// at {','.join(self._access.hosts)} is "
                f"{found.major}.{found.minor}.{found.patch}, 2.11 is needed",
                hint="update nats-server, or use broker://",
            )
        self.limits = replace(LIMITS, has_delay=version >= _WITH_LATER)
        self.most_bytes = client.max_payload

    def _on_silence(self, stream: JetStream) -> None:
        """Abandon a connection whose server does not answer."""
        if stream is self._present:
            self._on_loss()
            self._begun(self._connection.drop())

    def _on_loss(self) -> None:
        stream, self._present = self._present, None
        if stream is not None:
            stream.fail(ConnectionClosedError())
            for listener in list(self.listeners):
                listener()
