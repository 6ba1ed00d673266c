"""A blocking client of Deimos: keys, watches, errors."""

import contextlib
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard
from urllib.parse import quote, urlencode

import msgspec

from fastrpc.bounded_http import BoundedHttpClient, HttpError, decoded
from fastrpc.errors import CompactedError, StoreError
from fastrpc.networks import place_name
from fastrpc.registries.base.secrets import check_carried, header_token, take_secret
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.status import Status
from fastrpc.tls.ends import HttpEnd

__all__ = ["DeimosAccess", "DeimosAnswer", "DeimosClient", "DeimosNode", "DeimosRefusedError", "is_nothing"]

#: Seconds of one wait for an event. Waits are short because a Deimos may stop a watch when another watch ends.
WAIT_SECONDS: Final = 5.0

#: Error codes: the key is missing, a comparison failed, the key exists, the events after the index are gone.
NOT_FOUND, COMPARE_FAILED, EXISTS, CLEARED = 100, 101, 105, 401

_STATUSES: Final = {
    NOT_FOUND: Status.NOT_FOUND,
    COMPARE_FAILED: Status.ABORTED,
    EXISTS: Status.ABORTED,
    102: Status.FAILED_PRECONDITION,
    104: Status.FAILED_PRECONDITION,
    106: Status.PERMISSION_DENIED,
    107: Status.FAILED_PRECONDITION,
    108: Status.FAILED_PRECONDITION,
    110: Status.PERMISSION_DENIED,
    111: Status.RESOURCE_EXHAUSTED,
    CLEARED: Status.OUT_OF_RANGE,
}

#: Finds the oldest index that the store keeps, in the `cause` of error 401.
_OLDEST: Final = re.compile(r"\[([0-9]{1,19})/")

_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


class DeimosNode(msgspec.Struct, rename="camel"):
    """A key or a directory."""

    key: str
    value: str = ""
    dir: bool = False
    expiration: str | None = None
    nodes: list["DeimosNode"] = []
    modified_index: int = 0
    created_index: int = 0

    def keys(self) -> "Iterator[DeimosNode]":
        """Yield the node itself, if it is a key, else all keys in it."""
        if not self.dir:
            yield self
        for node in self.nodes:
            yield from node.keys()


class DeimosAnswer(msgspec.Struct, rename="camel"):
    """The result of a request, or an event."""

    action: str
    node: DeimosNode
    prev_node: DeimosNode | None = None

    #: The index of the store after a request.
    index: int = 0


class _Failure(msgspec.Struct, rename="camel"):
    error_code: int = 0
    message: str = ""
    cause: str = ""
    index: int = 0


class DeimosRefusedError(StoreError):
    """Deimos refused a request.

    Attributes:
        code: the error code of Deimos.
        index: the index of the store.
    """

    def __init__(self, text: str, failure: _Failure, status: Status) -> None:
        super().__init__(text, status=status)
        self.code, self.index = failure.error_code, failure.index


class DeimosAccess:
    """The nodes of a cluster, and the token for them.

    Raises:
        ConfigError: an option is wrong, or a token would be sent in plain text.
    """

    def __init__(self, url: RegistryURL) -> None:
        self.places = url.places(4001)
        tls, self.token = url.take_tls(), take_secret(url, "token", header_token)
        check_carried(url, self.places, kind="token" if self.token else "", is_encrypted=tls is not None)
        self._ends = None if tls is None else [HttpEnd(tls, host) for host, _ in self.places]

    def connect(self, place: int) -> BoundedHttpClient:
        """Return a client of one node; it connects on first use."""
        host, port = self.places[place]
        return BoundedHttpClient(host, port, encrypt=None if self._ends is None else self._ends[place].wrap)


class DeimosClient:
    """A client of a cluster, for one thread; another thread may call `close`, which interrupts a request."""

    def __init__(self, access: DeimosAccess) -> None:
        self._access = access
        self._place = random.randrange(len(access.places))
        self._http = access.connect(self._place)
        self._watch: BoundedHttpClient | None = None
        self._is_closed = False

    def get(self, key: str, *, recursive: bool = False) -> DeimosAnswer:
        """Read a key, or a directory with everything in it."""
        return self._ask("GET", key, {"recursive": "true"} if recursive else {}, {}, once=False)

    def put(self, key: str, form: Mapping[str, Any]) -> DeimosAnswer:
        """Write a key, with the fields and conditions of a form."""
        return self._ask("PUT", key, {}, form, once=True)

    def delete(self, key: str, index: int | None = None) -> DeimosAnswer:
        """Delete a key; if `index` is given, only if the key has this index. Deimos ignores conditions in the body."""
        return self._ask("DELETE", key, {} if index is None else {"prevIndex": index}, {}, once=True)

    def wait(
        self, key: str, index: int, *, recursive: bool, seconds: float = WAIT_SECONDS
    ) -> DeimosAnswer | None:
        """Return the first event since an index, for a key or anything in a directory; None after `seconds`.

        Args:
            seconds: at most `WAIT_SECONDS`.

        Raises:
            CompactedError: the store no longer has the events after the index.
        """
        options = {"wait": "true", "waitIndex": index} | ({"recursive": "true"} if recursive else {})
        target = self._target(key, options)
        self._watch = http = self._access.connect(self._place)
        if self._is_closed:
            http.close()
        try:
            with self._errors():
                lines = http.stream("GET", target, headers=self._headers(), idle_seconds=2 * WAIT_SECONDS)
                line = lines.receive(min(seconds, WAIT_SECONDS))
                if lines.status != 200:
                    raise self._refusal(lines.status, line or b"")
                return decoded(line, DeimosAnswer, strict=False) if line else None
        except StoreError as error:
            if error.status is Status.UNAVAILABLE:
                self._leave()
            raise
        finally:
            http.close()

    def close(self) -> None:
        """Close the connections, even while another thread waits for an answer on one."""
        self._is_closed = True
        self._http.close()
        if self._watch is not None:
            self._watch.close()

    def _ask(
        self, verb: str, key: str, options: Mapping[str, Any], form: Mapping[str, Any], *, once: bool
    ) -> DeimosAnswer:
        """Return the answer of a node. Each node is asked once, until one answers.

        Args:
            once: ask no other node if a node may have received the request.

        Raises:
            StoreError: no node answers. DeimosRefusedError: a node refuses the request.
        """
        for left in reversed(range(len(self._access.places))):
            try:
                return self._asked(verb, key, options, form)
            except StoreError as error:
                is_last = self._is_closed or not left or (once and getattr(error.__cause__, "was_sent", True))
                if error.status is not Status.UNAVAILABLE or is_last:
                    raise
                self._leave()
        raise AssertionError("a cluster has a node")

    def _asked(
        self, verb: str, key: str, options: Mapping[str, Any], form: Mapping[str, Any]
    ) -> DeimosAnswer:
        target = self._target(key, options)
        headers = self._headers() | (_FORM if form else {})
        with self._errors():
            answer = self._http.request(verb, target, headers=headers, body=urlencode(form).encode())
            index = answer.headers.get("X-Deimos-Index", "0")
            if answer.status not in (200, 201):
                raise self._refusal(answer.status, answer.body)
            found = decoded(answer.body, DeimosAnswer, strict=False)
        found.index = int(index) if index.isascii() and index.isdigit() and len(index) < 20 else 0
        return found

    def _leave(self) -> None:
        """Continue with the next node."""
        self._http.close()
        self._place = (self._place + 1) % len(self._access.places)
        self._http = self._access.connect(self._place)
        if self._is_closed:
            self._http.close()

    def _target(self, key: str, options: Mapping[str, Any]) -> str:
        return f"/keys/{quote(key, safe='/@:')}{'?' if options else ''}{urlencode(options)}"

    def _headers(self) -> dict[str, str]:
        token = self._access.token
        return {} if token is None else {"Authorization": f"Bearer {token()}"}

    def _refusal(self, status: int, body: bytes) -> StoreError:
        """Return the error for an answer. Only its first line is JSON."""
        try:
            failure = decoded(body.partition(b"\n")[0], _Failure, strict=False)
        except HttpError:
            failure = _Failure(message=f"status {status}")
        text = str(HttpError(f"{failure.message} {failure.cause}".strip()))
        if failure.error_code == CLEARED:
            found = _OLDEST.search(failure.cause)
            return CompactedError(
                self._text(text),
                oldest=int(found[1]) - 1 if found else failure.index,
                hint="list the items again, and watch after the revision of that list",
            )
        if failure.error_code in _STATUSES:
            return DeimosRefusedError(self._text(text), failure, _STATUSES[failure.error_code])
        # Status 500 becomes UNAVAILABLE: a node without a leader sends it after 10 s and may execute the request later.
        if status in (401, 403):
            return StoreError(self._text(text), status=Status.PERMISSION_DENIED)
        known = Status.UNAVAILABLE if status >= 500 or status == 429 else Status.INVALID_ARGUMENT
        return StoreError(self._text(text), status=known)

    def _text(self, text: str) -> str:
        return f"Deimos at {place_name(*self._access.places[self._place])}: {text}"

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise HTTP errors inside the block as StoreError."""
        try:
            yield
        except HttpError as error:
            raise StoreError(self._text(str(error))) from error


def is_nothing(error: StoreError) -> TypeGuard[DeimosRefusedError]:
    """Return whether a request failed because its key does not exist, or is below another key."""
    return error.status in (Status.NOT_FOUND, Status.FAILED_PRECONDITION) and isinstance(
        error, DeimosRefusedError
    )
