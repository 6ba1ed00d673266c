"""One connection to the admin pages."""

from collections.abc import Callable
from typing import Any

from fastrpc._core.http1.connection import HttpConnection
from fastrpc._core.http1.head import RequestHead, RequestLimits
from fastrpc.server.admin.access import AdminAccess
from fastrpc.server.admin.pages import Page, Pages

__all__ = ["AdminConnection"]

#: A request for a page has some hundred bytes.
LIMITS = RequestLimits(headers=64, header_bytes=16_384, target_bytes=2_048)

#: Caches, frames and guessed media types are forbidden: pages hold confidential data.
GUARDING = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
)


class AdminConnection(HttpConnection):
    """Answers requests for pages.

    Args:
        on_gone: called once the connection is gone.
        on_asked: called at each request.
        is_surplus: whether there are too many connections: it is closed once it is connected.
    """

    def __init__(
        self,
        pages: Pages,
        access: AdminAccess,
        on_gone: Callable[["AdminConnection"], None],
        on_asked: Callable[["AdminConnection"], None],
        *,
        is_surplus: bool = False,
    ) -> None:
        super().__init__(LIMITS)
        self._pages = pages
        self._access = access
        self._on_gone = on_gone
        self._on_asked = on_asked
        self._is_surplus = is_surplus

    def on_connected(self) -> None:
        if self._is_surplus:
            self.abort()

    def on_request(self, head: RequestHead, body: bytes) -> None:
        """Answer with a page."""
        self._on_asked(self)
        if head.method not in ("GET", "HEAD"):
            self._say(405, "pages are only read: GET or HEAD", ("Allow", "GET, HEAD"))
            return
        status = self._pages.probe(head.path)
        if status is not None:
            self.respond(status, GUARDING, b"")
            return
        refusal = self._access.refusal(head)
        if refusal is not None:
            self._say(*refusal, *_challenges(refusal[0]))
            return
        accepted = ",".join(head.values("accept"))
        if not self._pages.serve(head.path, head.query, accepted, self._show):
            self._say(404, "there is no such page; / lists them")

    def on_lost(self) -> None:
        self._on_gone(self)

    def _show(self, page: Page) -> None:
        # A page that took a while: the reader may be gone.
        if self.is_answering:
            self.respond(page.status, [*GUARDING, ("Vary", "Accept"), *page.fields], page.content)

    def _say(self, status: int, text: str, *fields: tuple[str, str]) -> None:
        content_type = ("Content-Type", "text/plain; charset=utf-8")
        self.respond(status, [*GUARDING, content_type, *fields], f"{text}\n".encode())


def _challenges(status: int) -> list[tuple[str, Any]]:
    """Return the challenges of a refusal; a browser asks its user for the password of the second."""
    if status != 401:
        return []
    return [("WWW-Authenticate", "Bearer"), ("WWW-Authenticate", 'Basic realm="fastrpc", charset="UTF-8"')]
