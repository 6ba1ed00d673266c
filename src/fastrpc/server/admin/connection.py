"""One connection to the admin pages."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastrpc._core.exchange.request_head import RequestHead, RequestLimits, RequestRefusedError
from fastrpc._core.http1.python_connection import PythonHttpConnection
from fastrpc.endpoint import Address
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity
from fastrpc.server.admin.access import AdminAccess
from fastrpc.server.admin.acts import MOST_BODY, ActRefusedError
from fastrpc.server.admin.pages import AdminPages, Page

if TYPE_CHECKING:
    from fastrpc.server.admin.acting import Acts

__all__ = ["AdminConnection"]

#: The limits are low, because a request for a page has only some hundred bytes.
LIMITS = RequestLimits(headers=64, header_bytes=16_384, target_bytes=2_048)

#: Header fields that forbid caches, frames and guessed media types, because pages contain confidential data.
GUARDING = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
)

#: The prefix of the paths of acts.
ACT = "/act/"


class AdminConnection(PythonHttpConnection):
    """Answers requests for pages.

    Args:
        acts: executes acts; None if there are no operators.
        on_gone: is called when the connection has ended.
        on_asked: is called at each request.
        is_surplus: True if there are too many connections. Then this connection is closed as soon as it is connected.
    """

    def __init__(
        self,
        pages: AdminPages,
        access: AdminAccess,
        acts: "Acts | None",
        on_gone: Callable[["AdminConnection"], None],
        on_asked: Callable[["AdminConnection"], None],
        *,
        is_surplus: bool = False,
    ) -> None:
        super().__init__(LIMITS)
        self._pages = pages
        self._access = access
        self._acts = acts
        # The operator of an act whose body is not complete yet, or the refusal.
        self._judged: Identity | ActRefusedError | None = None
        self._on_gone = on_gone
        self._on_asked = on_asked
        self._is_surplus = is_surplus

    def on_connected(self) -> None:
        if self._is_surplus:
            self.abort()

    def on_head(self, head: RequestHead) -> int:
        """Authenticate the operator of an act before the body is read."""
        if not _is_act(head):
            return 0
        try:
            self._judged = self._judge(head)
        except ActRefusedError as error:
            self._judged = error
            if not 0 <= head.content_length <= MOST_BODY:
                # Do not read a body without a length, or above the limit, from a caller without permission.
                raise RequestRefusedError(error.status, error.text) from None
        return MOST_BODY

    def _judge(self, head: RequestHead) -> Identity:
        if self._acts is None:
            raise ActRefusedError(404, "there is no such page; / lists them")
        return self._acts.judge(head.path.removeprefix(ACT), head, self._peer())

    def _peer(self) -> Peer:
        name = self.peer_name
        is_network = isinstance(name, tuple)
        return Peer(Address("tcp", host=name[0], port=name[1]) if is_network else Address("unix"))

    def on_request(self, head: RequestHead, body: bytes) -> None:
        """Answer with a page, or execute an act."""
        self._on_asked(self)
        if _is_act(head):
            self._act(head.path.removeprefix(ACT), body)
            return
        if self._acts is not None and head.path.startswith(ACT):
            self._say(405, "acts need POST", ("Allow", "POST"))
            return
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

    def _act(self, name: str, body: bytes) -> None:
        judged, self._judged = self._judged, None
        if isinstance(judged, Identity):
            assert self._acts is not None
            self._acts.begin(name, body, judged, self._peer(), self._tell)
        elif judged is not None:
            self._tell(judged.status, judged.values())

    def on_lost(self) -> None:
        self._on_gone(self)

    def _tell(self, status: int, values: dict[str, Any]) -> None:
        # The operator may have disconnected during a slow act.
        if self.is_answering:
            fields = [*GUARDING, ("Content-Type", "application/json")]
            if status == 401:
                fields.append(("WWW-Authenticate", "Bearer"))
            self.respond(status, fields, json.dumps(values).encode() + b"\n")

    def _show(self, page: Page) -> None:
        # The reader may have disconnected while the page was made.
        if self.is_answering:
            self.respond(page.status, [*GUARDING, ("Vary", "Accept"), *page.fields], page.content)

    def _say(self, status: int, text: str, *fields: tuple[str, str]) -> None:
        content_type = ("Content-Type", "text/plain; charset=utf-8")
        self.respond(status, [*GUARDING, content_type, *fields], f"{text}\n".encode())


def _is_act(head: RequestHead) -> bool:
    return head.method == "POST" and head.path.startswith(ACT)


def _challenges(status: int) -> list[tuple[str, Any]]:
    """Return the challenges of a refusal. Because of Basic, a browser asks its user for a password."""
    if status != 401:
        return []
    return [("WWW-Authenticate", "Bearer"), ("WWW-Authenticate", 'Basic realm="fastrpc", charset="UTF-8"')]
