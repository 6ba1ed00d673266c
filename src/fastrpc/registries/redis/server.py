"""A blocking client of a Redis server: logins, TLS, answers. Registries and brokers use it.

The owner passes the class of errors to raise. Threads take turns on one connection; `pipeline` sends the commands of
many callers in one write.
"""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
from redis import exceptions
from redis.connection import Connection
from redis.credentials import CredentialProvider

from fastrpc.bounded_http import ANSWER_BYTES, PIECE_BYTES, HttpError, TimedSocket
from fastrpc.config import TLS
from fastrpc.errors import FastRPCError, Processed, StoreError, copied_error
from fastrpc.networks import place_name
from fastrpc.registries.base.secrets import Secret
from fastrpc.status import Status
from fastrpc.tls.ends import HttpEnd

__all__ = ["RedisAccess", "RedisClient", "Word"]

#: A word of a command.
Word: TypeAlias = str | bytes | float

#: The most seconds to connect, and to wait for an answer.
CONNECT_SECONDS, ANSWER_SECONDS = 2.0, 3.0

#: The most bytes of all answers to one request, enough for one part of a long list.
REQUEST_BYTES = 4 * ANSWER_BYTES

#: Seconds to wait for a message that has already arrived.
LEAST_SECONDS = 0.001

#: The most messages that are read together before their lists are read.
MOST_MESSAGES = 1_000

#: Errors of a login or its permissions, with their statuses. The first entry that matches is used.
_REFUSALS = (
    ((exceptions.NoPermissionError, exceptions.AuthorizationError), Status.PERMISSION_DENIED),
    (exceptions.AuthenticationError, Status.UNAUTHENTICATED),
)

#: Errors of a connection, and of answers.
_FAILURES = (exceptions.RedisError, HttpError, OSError, msgspec.ValidationError, RecursionError, ValueError)

#: The line with the run ID in the output of INFO.
_RUN_ID = re.compile(rb"^run_id:(\w{1,64})", re.MULTILINE)

#: The answer to a command of more than ten words without a login.
_TOO_LONG = "unauthenticated multibulk length"


class _Login(CredentialProvider):
    def __init__(self, user: str, password: Secret) -> None:
        self._user, self._password = user, password

    def get_credentials(self) -> tuple[str, str]:
        return self._user, self._password()


class _BoundedSocket:
    """A socket for redis-py, with a deadline and a limit of bytes for each answer."""

    def __init__(self, connected: socket.socket) -> None:
        self._timed = TimedSocket(connected, ANSWER_BYTES, time.monotonic() + ANSWER_SECONDS)
        self.sendall, self.shutdown, self.close = self._timed.sendall, connected.shutdown, connected.close
        # redis-py's parser for hiredis polls the file descriptor, and peeks whether the peer has closed the connection.
        self.fileno, self._peek = connected.fileno, connected.recv
        # Returns the number of decrypted TLS bytes that have not been read.
        self.pending: Callable[[], int] = getattr(connected, "pending", int)
        # Bytes that `look_ahead` has received for the next `recv`.
        self._ahead = b""
        # All answers to the last request must be complete before this many bytes in total were received.
        self._last_byte = 0

    def allow(self, seconds: float) -> None:
        """Allow `seconds` for the first answer to the next request."""
        self._last_byte = self._timed.received + REQUEST_BYTES
        self._timed.allow(ANSWER_BYTES, time.monotonic() + seconds)

    def allow_next(self) -> None:
        """Restart the time limit for the next answer to the last request."""
        left = self._last_byte - self._timed.received
        self._timed.allow(min(ANSWER_BYTES, left), time.monotonic() + ANSWER_SECONDS)

    def settimeout(self, seconds: float | None) -> None:
        """Ignore redis-py's timeout, which is for one read. The deadline for the whole answer applies."""

    def look_ahead(self) -> bool:
        """Wait for bytes until the deadline; return whether there are any."""
        with contextlib.suppress(TimeoutError):
            self._ahead = self._ahead or self._received(PIECE_BYTES)
            if not self._ahead:
                raise ConnectionError("the server has ended the connection")
        return bool(self._ahead)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if flags:
            return self._ahead[:size] or self._peek(size, flags)
        found, self._ahead = self._ahead[:size], self._ahead[size:]
        return found or self._received(size)

    def recv_into(self, place: bytearray) -> int:
        """Receive bytes into a buffer, for the parser of hiredis."""
        found = self.recv(len(place))
        place[: len(found)] = found
        return len(found)

    def _received(self, size: int) -> bytes:
        place = bytearray(min(size, PIECE_BYTES))
        return bytes(place[: self._timed.receive_into(memoryview(place))])


class _Bounded(Connection):
    """A connection with limits for its answers, and with fastrpc's TLS settings.

    Args:
        place: returns host and port of the server. It is called for each new connection.
        role: the role that the server must have; "" for any role.
    """

    def __init__(
        self, place: Callable[[], tuple[str, int]], role: str, tls: TLS | None, **options: Any
    ) -> None:
        self._place, self._role, self._tls = place, role, tls
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def _connect(self) -> _BoundedSocket:
        self.host, self.port = self._place()
        connected: socket.socket = super()._connect()  # type: ignore[no-untyped-call]
        self.bounded = _BoundedSocket(
            connected if self._tls is None else HttpEnd(self._tls, self.host).wrap(connected)
        )
        return self.bounded

    def allow(self, seconds: float) -> None:
        """Connect if needed, and allow `seconds` for the next answer."""
        is_new = not self.is_connected
        self.connect()  # type: ignore[no-untyped-call]
        if is_new:
            # A server that is still loading its data refuses here, before a request is sent.
            self.send_command("PING")  # type: ignore[no-untyped-call]
            with contextlib.suppress(exceptions.NoPermissionError):
                self.read_response()
        if is_new and self._role:
            self.send_command("ROLE")  # type: ignore[no-untyped-call]
            answer = self.read_response()
            if not isinstance(answer, list) or answer[:1] != [self._role.encode()]:
                raise HttpError(f"the server at {place_name(self.host, self.port)} is not a {self._role}")
        self.bounded.allow(seconds)

    def has_message(self, seconds: float) -> bool:
        """Wait for bytes of a pushed message; return whether there are any."""
        self.allow(seconds)
        # redis-py's own parser waits in `can_read`. The parser of hiredis returns immediately, and may have buffered
        # bytes.
        return self.can_read(0.0) or self.bounded.look_ahead()


class RedisAccess:
    """A server: its place, or the sentinels that name it, and the login.

    Args:
        places: one server, or sentinels.
        login: the user name, and a function that returns the password; None for no login. Never sent to sentinels.
        db: the number of the database.
        master: the name by which the sentinels know the server.
        error: the class of the errors of its clients.
    """

    def __init__(
        self,
        places: Sequence[tuple[str, int]],
        *,
        tls: TLS | None,
        login: tuple[str, Secret] | None,
        db: int,
        master: str | None = None,
        error: type[FastRPCError] = StoreError,
    ) -> None:
        self._places, self._master, self._error = places, master, error
        self._tls, self._db = tls, db
        self._login = None if login is None else _Login(*login)

    def connect(self) -> "RedisClient":
        """Return a client; it connects on first use."""
        if self._master is None:
            return self._client(self._places[0], db=self._db, credential_provider=self._login)
        name = f"{self._master} of {', '.join(place_name(*one) for one in self._places)}"
        options = {"db": self._db, "credential_provider": self._login}
        return RedisClient(name, self._connection(self._find_master, "master", options), self._error)

    def _client(self, place: tuple[str, int], **options: Any) -> "RedisClient":
        return RedisClient(place_name(*place), self._connection(lambda: place, "", options), self._error)

    def _connection(self, place: Callable[[], tuple[str, int]], role: str, options: dict[str, Any]) -> Any:
        fixed = {"protocol": 2, "socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": CONNECT_SECONDS}
        return _Bounded(place, role, self._tls, **fixed, **options)

    def _find_master(self) -> tuple[str, int]:
        """Return the server that the sentinels name. The first sentinel that answers decides.

        Raises:
            FastRPCError: no sentinel answers or knows the name.
        """
        failure: FastRPCError | None = None
        command = "SENTINEL", "GET-MASTER-ADDR-BY-NAME", str(self._master)
        for place in self._places:
            with contextlib.closing(self._client(place)) as sentinel:
                try:
                    found = sentinel.ask(tuple[bytes, bytes] | None, *command)
                except self._error as error:
                    failure = failure or error
                    continue
            if found is not None and found[1].isdigit():
                return found[0].decode("utf-8", "replace"), int(found[1])
            failure = self._error(f"Redis: no sentinel knows a master {self._master!r}")
        assert failure is not None
        raise failure


def _packed(command: Sequence[Word]) -> bytes:
    """Encode a command, three times as fast as redis-py."""
    words = [one if isinstance(one, bytes) else str(one).encode() for one in command]
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(one), one) for one in words])


def _is_replica(refusal: BaseException) -> bool:
    return isinstance(refusal.__cause__, exceptions.ReadOnlyError)


class RedisClient:
    """A connection to the server. Threads may share it: each request has exclusive use of the connection.

    Methods raise `RedisAccess.error`, a subclass of FastRPCError. Its `processed` is "no" if nothing was sent. `close`
    interrupts a request of another thread.
    """

    def __init__(self, name: str, connection: Any, error: type[FastRPCError] = StoreError) -> None:
        self._name, self._connection, self._error = name, connection, error
        # Held for a request and its answers. Re-entrant: a failed request drops the connection.
        self._turn = threading.RLock()
        self._is_closed = False
        # True if the server may have received the request.
        self._is_sent = False
        self._may_ask_run = True

    def ask(self, kind: Any, *command: Word) -> Any:
        """Return the answer to a command.

        Raises:
            FastRPCError: the server cannot be reached, refuses, or answers with another type.
        """
        (found,) = self.ask_all(kind, [command])
        if isinstance(found, self._error):
            raise found
        return found

    def ask_all(self, kind: Any, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """Send commands together and return their answers. The answer for a key of a wrong type is an error object.

        Each answer has a limit of time and bytes, and all answers together have a limit of bytes.

        Raises:
            FastRPCError: the server cannot be reached, refuses, or answers with another type.
        """
        with self._request():
            self._send([_packed(command) for command in commands])
            return [self._answer(kind) for _ in commands]

    def pipeline(self, commands: Sequence[tuple[Any, Sequence[Word]]]) -> list[Any]:
        """Send the commands of unrelated callers in one write; return the answer or the error of each.

        A refusal concerns its command only; its cause is redis-py's error. A command with a word that is not UTF-8 is
        not sent, and has an error. If the connection is lost, or an answer has a wrong type, this is the error of each
        command without an answer. The limits for answers are the limits of `ask_all`.

        Args:
            commands: for each command, the type of its answer and its words.
        """
        # The bytes of each command. The answer to a command replaces its bytes later.
        found = [self._packed_or_refused(words) for _, words in commands]
        sent = [index for index, one in enumerate(found) if isinstance(one, bytes)]
        unanswered = iter(sent)
        try:
            with self._request():
                self._send([found[index] for index in sent])
                for index in sent:
                    found[index] = self._answer(commands[index][0], takes_refusals=True)
                    next(unanswered)
                if any(isinstance(one, self._error) and _is_replica(one) for one in found):
                    # This server is no longer the master. The next command connects to the new one.
                    self.drop()
        except self._error as error:
            for index in unanswered:
                found[index] = copied_error(error)
        return found

    def _packed_or_refused(self, command: Sequence[Word]) -> Any:
        """Return the bytes of a command, or the error of a word that cannot be encoded."""
        try:
            return _packed(command)
        except UnicodeEncodeError as error:
            text = f"a word of a command for Redis at {self._name} is not UTF-8: {error.reason}"
            return self._error(text, status=Status.INVALID_ARGUMENT, processed="no")

    def _send(self, packed: Sequence[bytes]) -> None:
        self._connection.allow(ANSWER_SECONDS)
        self._is_sent = True
        self._connection.send_packed_command([b"".join(packed)])

    def _answer(self, kind: Any, *, takes_refusals: bool = False) -> Any:
        self._connection.bounded.allow_next()
        try:
            return msgspec.convert(self._connection.read_response(), kind)
        except exceptions.ResponseError as error:
            # WRONGTYPE means that another program has written the key, so it concerns this command only.
            if not takes_refusals and not str(error).startswith("WRONGTYPE"):
                raise
            refusal = self._failure(error)
            refusal.__cause__ = error
            return refusal

    def _failure(self, error: Exception) -> FastRPCError:
        is_known = isinstance(error, _FAILURES)
        default = Status.UNAVAILABLE if is_known else Status.INTERNAL
        status = next((one for kind, one in _REFUSALS if isinstance(error, kind)), default)
        # The text comes from a server, so it is escaped for printing.
        text = str(HttpError(str(error) if is_known else repr(error))) or type(error).__name__
        if _TOO_LONG in text:
            status = Status.UNAUTHENTICATED
        processed: Processed | None = None if self._is_sent else "no"
        return self._error(f"Redis at {self._name}: {text}", status=status, processed=processed)

    def run_id(self) -> str:
        """Return the server's run ID, which changes with each restart; "" if the login may not read it.

        Raises:
            FastRPCError: the server cannot be reached, or answers with another type.
        """
        if not self._may_ask_run:
            return ""
        try:
            found = self.ask(bytes, "INFO", "server")
        except self._error as error:
            if error.status is not Status.PERMISSION_DENIED:
                raise
            self._may_ask_run = False
            return ""
        run = _RUN_ID.search(found)
        return "" if run is None else run[1].decode()

    def subscribe(self, verb: str, channels: Sequence[str]) -> set[bytes]:
        """Subscribe or unsubscribe channels; return the channels of messages that arrived in the meantime."""
        found: set[bytes] = set()
        left = len(channels)
        with self._request():
            self._connection.allow(ANSWER_SECONDS)
            self._connection.send_command(verb, *channels)
            while left:
                kind, channel, _ = self._message()
                if kind == verb.lower().encode():
                    left -= 1
                else:
                    found.add(channel)
        return found

    def receive(self, wait_seconds: float) -> set[bytes]:
        """Wait for a message on the subscribed channels; return the channels of all messages that have arrived."""
        return {channel for channel, _ in self.messages(wait_seconds)}

    def messages(
        self, wait_seconds: float, *, more_seconds: float = LEAST_SECONDS
    ) -> set[tuple[bytes, bytes]]:
        """Wait for a message on the subscribed channels; return channel and content of all messages that have arrived.

        Args:
            more_seconds: how long to wait for another message after each message; 0 for no wait.
        """
        found: set[tuple[bytes, bytes]] = set()
        until = time.monotonic() + wait_seconds + ANSWER_SECONDS
        with self._request():
            for number in range(MOST_MESSAGES):
                longest = more_seconds if number else max(wait_seconds, LEAST_SECONDS)
                if time.monotonic() > until or not self._connection.has_message(longest):
                    break
                self._connection.allow(ANSWER_SECONDS)
                _, channel, content = self._message()
                found.add((channel, content if isinstance(content, bytes) else b""))
        return found

    def _message(self) -> tuple[bytes, bytes, bytes | int]:
        """Return the kind, the channel and the content of the next message."""
        return msgspec.convert(self._connection.read_response(), tuple[bytes, bytes, bytes | int])

    def drop(self) -> None:
        """Close the connection after the running request of another thread. The next command opens a new one."""
        with self._turn:
            self._connection.disconnect()

    def close(self) -> None:
        """Close the connection for good, even while another thread waits for an answer on it."""
        self._is_closed = True
        self._connection.disconnect()

    @contextlib.contextmanager
    def _request(self) -> Iterator[None]:
        """Lock the connection during the block, and convert its errors. After an error the connection is closed.

        Every Exception is converted into `RedisAccess.error`, even after a defect of redis-py or its parser: the
        calling threads handle no other error, and would end silently.
        """
        with self._turn:
            self._is_sent = False
            try:
                if self._is_closed:
                    raise ConnectionError("the connection is closed")
                yield
            except BaseException as error:
                # The next request must not read answers to this request.
                self.drop()
                if isinstance(error, self._error) or not isinstance(error, Exception):
                    raise
                if self._is_closed:
                    # `close` removes redis-py's parser while a read may run, which may then raise any error.
                    raise self._failure(ConnectionError("the connection is closed")) from error
                raise self._failure(error) from error
            finally:
                # `close` may have been called while the connection was being opened.
                if self._is_closed:
                    self.drop()
