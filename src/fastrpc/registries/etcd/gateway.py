"""A blocking client of the JSON gateway to etcd's API v3: places, logins, pages, watches."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from fastrpc.bounded_http import ANSWER_SECONDS, BoundedHttpClient, HttpError, LineStream, decoded
from fastrpc.config import TLS
from fastrpc.errors import CompactedError, StoreError
from fastrpc.networks import place_name
from fastrpc.registries.base.secrets import Secret
from fastrpc.status import Status
from fastrpc.tls.ends import HttpEnd

__all__ = [
    "EtcdAccess",
    "Gateway",
    "Header",
    "KeyChange",
    "KeyValue",
    "KeyWatch",
    "Range",
    "prefix_range",
]

T = TypeVar("T")

#: Keys of a page with and without values. 128 of the longest records have about 11 MiB, less than the limit of a
#: response. Keys without values are short.
PAGE_KEYS, PAGE_NAMES = 128, 5_000

#: Seconds for all pages of a prefix.
PAGES_SECONDS = 30.0

#: Seconds without data after which a watch counts as dead. etcd sends progress reports every ten minutes.
WATCH_IDLE_SECONDS = 15 * 60.0

#: Statuses that some version of etcd uses for an expired or missing token, such as "permission denied" in a watch, or
#: "user name is empty".
_LOGIN_AGAIN = (Status.INVALID_ARGUMENT, Status.PERMISSION_DENIED, Status.UNAUTHENTICATED)

#: Statuses that neither another member nor a later attempt would change.
_FINAL = (
    *_LOGIN_AGAIN,
    Status.NOT_FOUND,
    Status.FAILED_PRECONDITION,
    Status.OUT_OF_RANGE,
    Status.RESOURCE_EXHAUSTED,
)


class Header(msgspec.Struct, frozen=True):
    cluster_id: int = 0
    revision: int = 0


class KeyValue(msgspec.Struct):
    key: bytes
    value: bytes = b""
    mod_revision: int = 0
    lease: int = 0
    #: The number of writes since the key was created; the creation is 1.
    version: int = 0
    create_revision: int = 0


class Range(msgspec.Struct):
    header: Header
    kvs: list[KeyValue] = []
    count: int = 0
    more: bool = False


class KeyChange(msgspec.Struct):
    """A key that was written or deleted. If it was deleted, the value is empty and `type` is "DELETE"."""

    kv: KeyValue
    type: str = "PUT"


class _Changes(msgspec.Struct):
    header: Header = Header()
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: list[KeyChange] = []


class _Failure(msgspec.Struct):
    code: int = 0
    grpc_code: int = 0
    message: str = ""
    #: The failure, if the answer is a stream, as for a lease renewal. Otherwise old versions repeat the message here.
    error: "_Failure | str" = ""


class _Line(_Failure):
    result: _Changes | None = None


class _Login(msgspec.Struct):
    token: str


class EtcdAccess:
    """A cluster: its places, and the login.

    Args:
        user: the user name, and a function that returns the password; None for no login.
    """

    def __init__(
        self, places: list[tuple[str, int]], *, tls: TLS | None = None, user: tuple[str, Secret] | None = None
    ) -> None:
        self.places = places
        self.user = user
        self._ends = None if tls is None else [HttpEnd(tls, host) for host, _ in places]
        #: The token by place. A token is sent only to the place that issued it.
        self.tokens: dict[int, str] = {}

    def connect(self, place: int) -> BoundedHttpClient:
        """Return a client of one place; it connects on first use."""
        host, port = self.places[place]
        return BoundedHttpClient(host, port, encrypt=None if self._ends is None else self._ends[place].wrap)


class Gateway:
    """A client of a cluster, for one thread; another thread may call `close`, which interrupts a request."""

    def __init__(self, access: EtcdAccess) -> None:
        self._access = access
        self._place = random.randrange(len(access.places))
        self._http = access.connect(self._place)
        self._watch: KeyWatch | None = None
        self._is_closed = False

    def ask(self, path: str, request: dict[str, Any], kind: type[T], *, once: bool = False) -> T:
        """Return the answer to a request. Each place is asked once, until one answers.

        Args:
            once: ask no other place if a place may have received the request.

        Raises:
            StoreError: no place answers, or one refuses the request.
        """
        for left in reversed(range(len(self._access.places))):
            try:
                return self._with_login(lambda: self._ask(path, request, kind))
            except StoreError as error:
                is_last = self._is_closed or not left or (once and getattr(error.__cause__, "was_sent", True))
                if error.status is not Status.UNAVAILABLE or is_last:
                    raise
                self.leave()
        raise AssertionError("a cluster has a place")

    def pages(self, prefix: str, *, keys_only: bool = False) -> Iterator[Range]:
        """Yield all keys with a prefix, at the revision of the first page."""
        until = time.monotonic() + PAGES_SECONDS
        limit = PAGE_NAMES if keys_only else PAGE_KEYS
        request = prefix_range(prefix) | {"limit": limit, "keys_only": keys_only}
        while True:
            page = self.ask("kv/range", request, Range)
            yield page
            if not page.more or not page.kvs:
                return
            if time.monotonic() > until:
                raise self._error(f"the keys of {prefix} did not arrive within {PAGES_SECONDS:g} s")
            request.setdefault("revision", page.header.revision)
            request["key"] = page.kvs[-1].key + b"\0"

    def watch(self, keys: str | dict[str, Any], revision: int) -> "KeyWatch":
        """Watch a prefix, or a range of keys, from a revision on. This ends the previous watch."""

        def opened() -> KeyWatch:
            self._end_watch()
            http = self._access.connect(self._place)
            self._watch = KeyWatch(self, http)
            if self._is_closed:
                http.close()
            keys_of = prefix_range(keys) if isinstance(keys, str) else keys
            create = keys_of | {"start_revision": revision, "progress_notify": True}
            body, headers = msgspec.json.encode({"create_request": create}), self._headers()
            with self.errors():
                lines = http.stream(
                    "POST", "/v3/watch", body=body, headers=headers, idle_seconds=WATCH_IDLE_SECONDS
                )
                self._watch.open(lines)
            return self._watch

        return self._with_login(opened)

    def leave(self) -> None:
        """Continue with the next place."""
        self._end_watch()
        self._http.close()
        self._place = (self._place + 1) % len(self._access.places)
        self._http = self._access.connect(self._place)
        if self._is_closed:
            self._http.close()

    def interrupt(self) -> None:
        """End the watch, even while another thread waits for its changes."""
        watch = self._watch
        if watch is not None:
            watch.close()

    def close(self) -> None:
        """Close the connections, even while another thread waits for an answer on one."""
        self._is_closed = True
        self._http.close()
        self._end_watch()

    def _end_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _with_login(self, ask: Callable[[], T]) -> T:
        """Log in if there is a user, then return the answer of `ask`. If the token is refused, log in again once."""
        user, known = self._access.user, self._access.tokens.get(self._place)
        if user is None:
            return ask()
        if known is not None:
            try:
                return ask()
            except StoreError as error:
                if error.status not in _LOGIN_AGAIN:
                    raise
        # Log in unless another thread has done so in the meantime.
        if self._access.tokens.get(self._place) == known:
            self._log_in(*user)
        return ask()

    def _log_in(self, name: str, password: Secret) -> None:
        self._access.tokens.pop(self._place, None)
        try:
            login = self._ask("auth/authenticate", {"name": name, "password": password()}, _Login)
        except StoreError as error:
            if error.status is Status.FAILED_PRECONDITION:
                # Authentication is disabled, so no token is needed.
                return
            if error.status is Status.INVALID_ARGUMENT:
                error.status = Status.UNAUTHENTICATED
            raise
        if not (login.token.isascii() and login.token.isprintable()):
            raise self._error("its token has characters that no header may have")
        self._access.tokens[self._place] = login.token

    def _headers(self) -> dict[str, str]:
        token = self._access.tokens.get(self._place)
        return {} if token is None else {"Authorization": token}

    def _ask(self, path: str, request: dict[str, Any], kind: type[T]) -> T:
        with self.errors():
            body = msgspec.json.encode(request)
            answer = self._http.request("POST", f"/v3/{path}", headers=self._headers(), body=body)
            if answer.status != 200:
                raise self.refusal(decoded(answer.body, _Failure, strict=False))
            return decoded(answer.body, kind, strict=False)

    def refusal(self, failure: _Failure) -> StoreError:
        """Return the error for an answer that is a refusal."""
        failure = failure.error if isinstance(failure.error, _Failure) else failure
        code = failure.code or failure.grpc_code or Status.UNKNOWN
        is_final = code in _FINAL and "too many requests" not in failure.message
        # The text comes from a server, so it is escaped for printing.
        return self._error(str(HttpError(failure.message)), Status(code) if is_final else Status.UNAVAILABLE)

    def _error(self, text: str, status: Status = Status.UNAVAILABLE) -> StoreError:
        return StoreError(f"etcd at {place_name(*self._access.places[self._place])}: {text}", status=status)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raise HTTP errors inside the block as StoreError."""
        try:
            yield
        except HttpError as error:
            raise self._error(str(error)) from error


class KeyWatch:
    """The changes of the keys with a prefix."""

    def __init__(self, gateway: Gateway, http: BoundedHttpClient) -> None:
        self._gateway, self._http = gateway, http
        self._lines: LineStream | None = None
        #: All changes up to this revision were received. etcd reports it in lines without changes; 0 before the first
        #: such line.
        self.complete = 0
        self.is_closed = False

    def open(self, lines: LineStream) -> None:
        """Read from the lines of the answer. The first line says whether etcd accepts the watch."""
        self._lines = lines
        first = self.receive(ANSWER_SECONDS)
        if first is None or first:
            raise HttpError("it did not create the watch")

    def receive(self, wait_seconds: float) -> list[KeyChange] | None:
        """Return the next changes. An empty list means a line without changes; None means no line within
        `wait_seconds`.

        Raises:
            StoreError: the watch failed or was refused. The status OUT_OF_RANGE means that its revision is compacted.
        """
        with self._gateway.errors():
            line = b"" if self._lines is None else self._lines.receive(wait_seconds)
            if line is None:
                return None
            if not line:
                raise HttpError("the watch ended")
            found = decoded(line, _Line, strict=False)
        if (result := found.result) is None:
            raise self._gateway.refusal(found)
        if result.compact_revision:
            raise CompactedError("the revision is compacted", oldest=result.compact_revision)
        if result.canceled:
            text = f"the watch was canceled: {result.cancel_reason}"
            is_refused = any(word in text.lower() for word in ("permission", "auth token"))
            code = Status.PERMISSION_DENIED if is_refused else Status.UNAVAILABLE
            raise self._gateway.refusal(_Failure(code, message=text))
        if not (result.events or result.created):
            # Ignore the revision of a line with changes: further changes of the same revision may follow.
            self.complete = max(self.complete, result.header.revision)
        return result.events

    def close(self) -> None:
        self.is_closed = True
        self._http.close()


def prefix_range(prefix: str) -> dict[str, Any]:
    """Return the range of keys with a prefix; for "" all keys. The last character of the prefix must be ASCII."""
    key = prefix.encode() or b"\0"
    return {"key": key, "range_end": key[:-1] + bytes([key[-1] + 1]) if prefix else key}
