"""Connections to a server of Redis: logins, TLS, answers. Blocking, for threads; keys mean nothing here."""

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from redis import exceptions
from redis.connection import Connection
from redis.credentials import CredentialProvider

from fastrpc.bounded_http import ANSWER_BYTES, PIECE_BYTES, HttpError, TimedSocket
from fastrpc.config import TLS
from fastrpc.errors import StoreError
from fastrpc.registries.base.secrets import Secret
from fastrpc.status import Status
from fastrpc.tls.ends import HttpEnd

__all__ = ["RedisAccess", "RedisClient"]

#: Seconds for a connection, and for an answer.
CONNECT_SECONDS, ANSWER_SECONDS = 2.0, 3.0

#: Most bytes of all answers to one request: those of a part of long lists fit.
REQUEST_BYTES = 4 * ANSWER_BYTES

#: Seconds in which a message that has come already is read.
LEAST_SECONDS = 0.001

#: Messages that are read at once, before the lists that they tell of are.
MOST_MESSAGES = 1_000

#: Errors of a login or its rights, with their statuses; the first that fits counts.
_REFUSALS = (
    ((exceptions.NoPermissionError, exceptions.AuthorizationError), Status.PERMISSION_DENIED),
    (exceptions.AuthenticationError, Status.UNAUTHENTICATED),
)

#: Errors of a connection, and of answers.
_FAILURES = (exceptions.RedisError, HttpError, OSError, msgspec.ValidationError, RecursionError, ValueError)

#: The id of a run in what a server tells of itself.
_RUN_ID = re.compile(rb"^run_id:(\w{1,64})", re.MULTILINE)

#: The answer to a command of more than ten words without a login.
_TOO_LONG = "unauthenticated multibulk length"


class _Login(CredentialProvider):
    def __init__(self, user: str, password: Secret) -> None:
        self._user, self._password = user, password

    def get_credentials(self) -> tuple[str, str]:
        return self._user, self._password()


class _BoundedSocket:
    """A socket as redis-py uses it, with a deadline and a byte count for each answer."""

    def __init__(self, connected: socket.socket) -> None:
        self._timed = TimedSocket(connected, ANSWER_BYTES, time.monotonic() + ANSWER_SECONDS)
        self.sendall, self.shutdown, self.close = self._timed.sendall, connected.shutdown, connected.close
        # The byte count at which all answers to the last request have to be complete.
        self._last_byte = 0

    def allow(self, seconds: float) -> None:
        """Allow so much time for the first answer to the next request."""
        self._last_byte = self._timed.received + REQUEST_BYTES
        self._timed.allow(ANSWER_BYTES, time.monotonic() + seconds)

    def allow_next(self) -> None:
        """Allow the time of one more answer to the last request."""
        left = self._last_byte - self._timed.received
        self._timed.allow(min(ANSWER_BYTES, left), time.monotonic() + ANSWER_SECONDS)

    def settimeout(self, seconds: float | None) -> None:
        """Leave the deadline as it is: this is the time for a piece of an answer."""

    def recv(self, size: int) -> bytes:
        place = bytearray(min(size, PIECE_BYTES))
        return bytes(place[: self._timed.receive_into(memoryview(place))])


class _Bounded(Connection):
    """A connection whose answers have bounds, with the TLS of all registries.

    Args:
        place: returns the server for each new connection.
        role: the one that it has to have; "" for any.
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
        """Connect if need be, and allow so much time for what comes next."""
        is_new = not self.is_connected
        self.connect()  # type: ignore[no-untyped-call]
        if is_new and self._role:
            self.send_command("ROLE")  # type: ignore[no-untyped-call]
            answer = self.read_response()
            if not isinstance(answer, list) or answer[:1] != [self._role.encode()]:
                raise HttpError(f"the server at {self.host}:{self.port} is no {self._role}")
        self.bounded.allow(seconds)


class RedisAccess:
    """A server: its place, or the sentinels that name it, and the login to it.

    Args:
        places: one server, or sentinels.
        login: a name with its password, which sentinels do not get; None needs no login.
        db: the number of the database.
        master: the name of the server among the sentinels.
    """

    def __init__(
        self,
        places: Sequence[tuple[str, int]],
        *,
        tls: TLS | None,
        login: tuple[str, Secret] | None,
        db: int,
        master: str | None = None,
    ) -> None:
        self._places, self._master = places, master
        self._tls, self._db = tls, db
        self._login = None if login is None else _Login(*login)

    def connect(self) -> "RedisClient":
        """Return a client; it connects when it is used."""
        if self._master is None:
            return self._client(self._places[0], db=self._db, credential_provider=self._login)
        name = f"{self._master} of {', '.join(map(_told, self._places))}"
        options = {"db": self._db, "credential_provider": self._login}
        return RedisClient(name, self._connection(self._find_master, "master", options))

    def _client(self, place: tuple[str, int], **options: Any) -> "RedisClient":
        return RedisClient(_told(place), self._connection(lambda: place, "", options))

    def _connection(self, place: Callable[[], tuple[str, int]], role: str, options: dict[str, Any]) -> Any:
        fixed = {"protocol": 2, "socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": CONNECT_SECONDS}
        return _Bounded(place, role, self._tls, **fixed, **options)

    def _find_master(self) -> tuple[str, int]:
        """Return the server that the first sentinel that answers names.

        Raises:
            StoreError: none answers, or knows the name.
        """
        failure: StoreError | None = None
        command = "SENTINEL", "GET-MASTER-ADDR-BY-NAME", str(self._master)
        for place in self._places:
            with contextlib.closing(self._client(place)) as sentinel:
                try:
                    found = sentinel.ask(tuple[bytes, bytes] | None, *command)
                except StoreError as error:
                    failure = failure or error
                    continue
            if found is not None and found[1].isdigit():
                return found[0].decode("utf-8", "replace"), int(found[1])
            failure = StoreError(f"Redis: no sentinel knows a master {self._master!r}")
        assert failure is not None
        raise failure


def _packed(command: Sequence[str | bytes | float]) -> bytes:
    """Return the bytes of a command; redis-py takes three times as long for them."""
    words = [one if isinstance(one, bytes) else str(one).encode() for one in command]
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(one), one) for one in words])


def _told(place: tuple[str, int]) -> str:
    return f"{place[0]}:{place[1]}"


class RedisClient:
    """A connection, for one thread; another thread may call `close`, which interrupts a request."""

    def __init__(self, name: str, connection: Any) -> None:
        self._name, self._connection = name, connection
        self._is_closed = False
        self._may_ask_run = True

    def ask(self, kind: Any, *command: str | bytes | float) -> Any:
        """Return the answer to a command.

        Raises:
            StoreError: the server cannot be reached, refuses, or answers with another type.
        """
        (found,) = self.ask_all(kind, [command])
        if isinstance(found, StoreError):
            raise found
        return found

    def ask_all(self, kind: Any, commands: Sequence[Sequence[str | bytes | float]]) -> list[Any]:
        """Return the answers to commands that are sent at once, for one at a key of another type a StoreError.

        Each has the time of one answer and its bytes; there is a bound for their sum, too.

        Raises:
            StoreError: the server cannot be reached, refuses, or answers with another type.
        """
        with self._errors():
            self._connection.allow(ANSWER_SECONDS)
            self._connection.send_packed_command([b"".join(map(_packed, commands))])
            return [self._answer(kind) for _ in commands]

    def _answer(self, kind: Any) -> Any:
        self._connection.bounded.allow_next()
        try:
            return msgspec.convert(self._connection.read_response(), kind)
        except exceptions.ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            # Another program has written the key.
            return self._error(error)

    def _error(self, error: Exception) -> StoreError:
        status = next((one for kind, one in _REFUSALS if isinstance(error, kind)), Status.UNAVAILABLE)
        # A server's text, escaped for printing.
        text = str(HttpError(str(error))) or type(error).__name__
        if _TOO_LONG in text:
            status = Status.UNAUTHENTICATED
        return StoreError(f"Redis at {self._name}: {text}", status=status)

    def run_id(self) -> str:
        """Return the id of this run of the server; "" where the login has no right to it.

        Raises:
            StoreError: the server cannot be reached, or answers with another type.
        """
        if not self._may_ask_run:
            return ""
        try:
            found = self.ask(bytes, "INFO", "server")
        except StoreError as error:
            if error.status is not Status.PERMISSION_DENIED:
                raise
            self._may_ask_run = False
            return ""
        run = _RUN_ID.search(found)
        return "" if run is None else run[1].decode()

    def subscribe(self, verb: str, channels: Sequence[str]) -> set[bytes]:
        """Subscribe channels, or unsubscribe them; return the channels of the messages that came meanwhile."""
        found: set[bytes] = set()
        left = len(channels)
        with self._errors():
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
        """Wait for messages of the subscribed channels; return the channels of the first ones that have come."""
        found: set[bytes] = set()
        until = time.monotonic() + wait_seconds + ANSWER_SECONDS
        with self._errors():
            for number in range(MOST_MESSAGES):
                self._connection.allow(max(0.0 if number else wait_seconds, LEAST_SECONDS))
                if time.monotonic() > until or not self._connection.can_read(0.0):
                    break
                self._connection.allow(ANSWER_SECONDS)
                found.add(self._message()[1])
        return found

    def _message(self) -> tuple[bytes, bytes, bytes | int]:
        """Return the kind, the channel and the content of the next message."""
        return msgspec.convert(self._connection.read_response(), tuple[bytes, bytes, bytes | int])

    def drop(self) -> None:
        """Close the connection; the next command opens another one."""
        self._connection.disconnect()

    def close(self) -> None:
        """Close the connection for good, even while another thread waits for an answer on it."""
        self._is_closed = True
        self.drop()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors inside the block into StoreError; the connection is closed after one."""
        try:
            if self._is_closed:
                raise ConnectionError("the connection is closed")
            yield
        except StoreError:
            self.drop()
            raise
        except _FAILURES as error:
            self.drop()
            raise self._error(error) from error
        finally:
            # It may have been closed while it connected.
            if self._is_closed:
                self.drop()
