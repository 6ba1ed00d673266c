"""Ask one server for its admin pages: from a thread, or from a loop. Every answer is bounded in bytes and time."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Final, TypedDict, TypeVar

from fastrpc.bounded_http import BoundedHttpClient, HttpError, Response, begin_get, decoded
from fastrpc.config import TLS
from fastrpc.endpoint import Address
from fastrpc.tls.ends import HttpEnd

__all__ = ["PAGE_BYTES", "AdminReader", "PageError"]

T = TypeVar("T")
R = TypeVar("R")

#: The longest page: 4,096 methods on both sides, with ten used buckets each, have 3 MiB.
PAGE_BYTES: Final = 4 * 1024 * 1024

#: Pages of this many bytes or more are decoded one at a time: decoding needs ten times their bytes of memory.
LARGE_BYTES: Final = 256 * 1024
_LARGE_TURN: Final = threading.Lock()

#: Seconds that a server may take to make a page. With the 2 s for an answer to arrive, a page takes at most 3 s.
HELD_SECONDS: Final = 1.0

_REFUSALS: Final = {
    401: "the reading token is missing or wrong there",
    403: "it needs a reading token: give --admin-token-file",
    404: "it has no such page",
    421: "it takes only requests to its own machine",
}


class _Options(TypedDict):
    headers: dict[str, str]
    held_seconds: float


class PageError(Exception):
    """A server did not give a page; the text says why."""


class AdminReader:
    """The admin pages of one server, over a persistent connection. Used by one thread or one task at a time.

    Args:
        tls: the certificates that are trusted.
        token: returns the reading token; None without a token.

    Raises:
        ConfigError: a file of certificates cannot be used.
    """

    def __init__(self, address: Address, tls: TLS, token: Callable[[], str] | None) -> None:
        encrypt = HttpEnd(tls, address.host).wrap if address.scheme == "tls" else None
        self._http = BoundedHttpClient(address.host, address.port, encrypt=encrypt, most_bytes=PAGE_BYTES)
        self._token = token

    def page(self, path: str, kind: type[T]) -> T:
        """Return a page.

        Raises:
            PageError: the page cannot be read, or breaks a rule.
        """
        return self.taken(
            self._body(lambda: self._http.request("GET", path, **self._options())), kind, _itself
        )

    async def begin(self, path: str) -> bytes | Callable[[], bytes]:
        """Return the text of a page, or the function with which a thread reads it.

        Raises:
            PageError: the page cannot be read.
        """
        try:
            begun = await begin_get(self._http, path, **self._options())
        except HttpError as error:
            raise PageError(str(error)) from None
        return begun if isinstance(begun, bytes) else partial(self._body, begun)

    def taken(self, body: bytes, kind: type[T], take: Callable[[T], R]) -> R:
        """Decode a page, and return the result of `take` on it. Large pages are processed one at a time.

        Raises:
            PageError: the text is not such a page.
        """
        with _LARGE_TURN if len(body) > LARGE_BYTES else nullcontext():
            try:
                page = decoded(body, kind)
            except HttpError as error:
                raise PageError(str(error)) from None
            return take(page)

    def _options(self) -> _Options:
        headers = {"Accept": "application/json", "User-Agent": "fastrpc-console"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token()}"
        return {"headers": headers, "held_seconds": HELD_SECONDS}

    def _body(self, ask: Callable[[], Response]) -> bytes:
        try:
            answer = ask()
        except HttpError as error:
            raise PageError(str(error)) from None
        if answer.status != 200:
            raise PageError(_REFUSALS.get(answer.status, f"it answered {answer.status}"))
        return answer.body

    def close(self) -> None:
        """Close the connection, even while a page is read. Closing twice is fine."""
        self._http.close()


def _itself(page: T) -> T:
    return page
