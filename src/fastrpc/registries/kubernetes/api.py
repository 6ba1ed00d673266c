"""A blocking client for EndpointSlices of an apiserver: pages and watches."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from fastrpc.bounded_http import (
    ANSWER_SECONDS,
    BoundedHttpClient,
    HttpError,
    LineStream,
    Response,
    check_values,
    decoded,
)
from fastrpc.config import TLS
from fastrpc.errors import StoreError
from fastrpc.networks import place_name
from fastrpc.registries.base.secrets import Secret
from fastrpc.status import Status
from fastrpc.tls.ends import HttpEnd

__all__ = ["Api", "ApiAccess", "ApiRefusedError", "ListPage", "ObjectMeta"]

A = TypeVar("A", Response, LineStream)

#: The slices per page, as in client-go. 500 slices of 100 endpoints have about 14 MiB, less than the limit of a
#: response.
PAGE_SLICES = 500

#: Seconds for all pages of a list.
PAGES_SECONDS = 30.0

#: The least and the most seconds of a watch. The limit is random for each watch, so that watches do not all end
#: together.
WATCH_SECONDS = 240.0, 480.0

#: The most bytes per second of a watch. Each change sends a whole slice, so this allows for more than a hundred slices
#: of 100 endpoints.
WATCH_BYTES_PER_SECOND = 4 * 1024 * 1024

_STATUSES = {401: Status.UNAUTHENTICATED, 403: Status.PERMISSION_DENIED, 410: Status.OUT_OF_RANGE}


#: Statuses after which the request is retried: 429 for too many requests, 503 for a server that starts or stops.
_LATER = (429, 503)


class ApiRefusedError(StoreError):
    """The apiserver refused a request.

    Attributes:
        is_final: True if the same request would be refused again.
    """

    is_final = False


class ObjectMeta(msgspec.Struct, rename="camel"):
    """The metadata of a list or an object."""

    name: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    continues: str = msgspec.field(name="continue", default="")


class ListPage(msgspec.Struct):
    """A page of a list; its metadata has the token of the next page."""

    metadata: ObjectMeta
    items: list[msgspec.Raw] | None = None


class _Refusal(msgspec.Struct):
    """The `Status` object in the body of a refusal."""

    message: str = ""


class ApiAccess:
    """The apiserver, and the credentials for it.

    Args:
        base: the path before `/apis`, or "".
        tls: None for plain HTTP.
        token: None to send no token.
    """

    def __init__(
        self, place: tuple[str, int], namespace: str, *, base: str, tls: TLS | None, token: Secret | None
    ) -> None:
        self.place = place
        self.token = token
        self.target = f"{base}/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._encrypt = None if tls is None else HttpEnd(tls, place[0]).wrap

    def connect(self) -> BoundedHttpClient:
        """Return a client; it connects on first use."""
        host, port = self.place
        return BoundedHttpClient(host, port, encrypt=self._encrypt)


class Api:
    """A client of the apiserver, for one thread; another thread may call `interrupt` and `close`.

    Args:
        selector: a label selector of slices; "" selects all slices of the namespace.
    """

    def __init__(self, access: ApiAccess, selector: str) -> None:
        self._access = access
        self._selector = {"labelSelector": selector} if selector else {}
        self._http = access.connect()
        self._watch: LineStream | None = None

    def pages(self) -> Iterator[ListPage]:
        """Yield the pages of a list, all of the same version. This ends the previous watch.

        Raises:
            StoreError: the apiserver refuses, or does not answer. The status OUT_OF_RANGE means that a page has
                expired.
        """
        self.end_watch()
        until = time.monotonic() + PAGES_SECONDS
        query = self._selector | {"limit": str(PAGE_SLICES)}
        while True:
            answer = self._ask(self._http.request, query)
            with self.errors():
                if answer.status != 200:
                    raise self._refusal(answer.status, answer.body)
                page = decoded(answer.body, ListPage)
            yield page
            if not page.metadata.continues:
                return
            if time.monotonic() > until:
                raise self._error(f"its pages did not arrive within {PAGES_SECONDS:g} s")
            query["continue"] = page.metadata.continues

    def watch(self, version: str) -> None:
        """Watch the slices from a version on.

        Raises:
            StoreError: the apiserver refuses, or does not answer. The status OUT_OF_RANGE means that the version is too
                old.
        """
        self.end_watch()
        seconds = int(random.uniform(*WATCH_SECONDS))
        query = self._selector | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }

        def opened(method: str, target: str, *, headers: dict[str, str]) -> LineStream:
            return self._http.stream(
                method,
                target,
                headers=headers,
                idle_seconds=seconds + ANSWER_SECONDS,
                bytes_per_second=WATCH_BYTES_PER_SECOND,
            )

        stream = self._ask(opened, query)
        if stream.status != 200:
            with self.errors():
                line = stream.receive(ANSWER_SECONDS) or b""
            stream.close()
            raise self._refusal(stream.status, line)
        self._watch = stream

    @property
    def is_watching(self) -> bool:
        return self._watch is not None

    def receive(self, wait_seconds: float) -> bytes | None:
        """Return the next line of the watch; None if none begins within `wait_seconds`.

        Return b"" when the watch or its connection has ended. Another watch can continue at the same version.

        Raises:
            StoreError: the answer is invalid or too large.
        """
        with self.errors():
            line = b"" if self._watch is None else self._received(self._watch, wait_seconds)
            check_values(line or b"")
        if line == b"":
            self._watch = None
        return line

    @staticmethod
    def _received(watch: LineStream, wait_seconds: float) -> bytes | None:
        try:
            return watch.receive(wait_seconds)
        except HttpError as error:
            if not error.is_cut:
                raise
            return b""

    def end_watch(self) -> None:
        """End the watch, if there is one."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def interrupt(self) -> None:
        """End the watch, even while another thread waits for its events."""
        self._http.interrupt()

    def close(self) -> None:
        """Close the connection, even while another thread waits for an answer on it."""
        self._http.close()

    def _ask(self, send: Callable[..., A], query: dict[str, str]) -> A:
        """Send a request with the current token. If the answer is 401 and the token file has changed, send it again."""
        target, token = f"{self._access.target}?{urlencode(query)}", self._token()
        with self.errors():
            answer = send("GET", target, headers=_headers(token))
            if answer.status == 401 and (newer := self._token()) != token:
                self._http.drop()
                answer = send("GET", target, headers=_headers(newer))
        return answer

    def _token(self) -> str | None:
        return None if self._access.token is None else self._access.token()

    def _refusal(self, status: int, body: bytes) -> ApiRefusedError:
        """Return the error for an answer that is a refusal."""
        message = ""
        with contextlib.suppress(HttpError):
            message = f": {decoded(body, _Refusal).message}"
        # The text comes from a server, so it is escaped for printing.
        text = self._text(str(HttpError(f"it answered {status}{message}")))
        refusal = ApiRefusedError(text, status=_STATUSES.get(status, Status.UNAVAILABLE))
        refusal.is_final = status not in _LATER
        return refusal

    def _error(self, text: str) -> StoreError:
        return StoreError(self._text(text), status=Status.UNAVAILABLE)

    def _text(self, text: str) -> str:
        return f"the apiserver at {place_name(*self._access.place)}: {text}"

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raise HTTP errors inside the block as StoreError."""
        try:
            yield
        except HttpError as error:
            raise self._error(str(error)) from error


def _headers(token: str | None) -> dict[str, str]:
    return {"Accept": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
