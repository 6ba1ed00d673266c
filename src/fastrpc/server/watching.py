"""The ends of requests and calls, each reported once, for `fastrpc dev`.

::

    head ──► begin ──► note (status) ──► end       a request of HTTP/1.1, or refuse, or cut
    call ──► its end, or its refusal               a call that is no such request, or a part of one
"""

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from fastrpc._core.calls.call import Call
from fastrpc._core.calls.call_log import CallLog
from fastrpc._core.http.http_call import shown_protocol
from fastrpc.status import Status

__all__ = ["Ended", "Ends", "RequestWatch"]

logger = logging.getLogger("fastrpc.server")

#: The status of a request whose client left before the answer; proxies use it in their logs.
_CLIENT_CLOSED: Final = 499
_PHRASES: Final = {int(status): status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    _CLIENT_CLOSED: "Client Closed Request",
}

#: The service name of mounted applications in the names of methods.
_MOUNT: Final = "_mount."


class Ended(NamedTuple):
    """The end of a request, or of a call."""

    #: Method and target of a request, or protocol and method of a call: texts of a peer.
    what: str
    status: str
    is_error: bool
    seconds: float
    #: The reason if it was refused or cut off, else "".
    reason: str = ""


class Ends:
    """Reports the end of each request and call of a server to a function.

    Args:
        tell: is called with each end, on the loop of the server; its exceptions are logged.
    """

    def __init__(self, tell: Callable[[Ended], None]) -> None:
        self._told = tell

    def tell(self, ended: Ended) -> None:
        """Report an end."""
        try:
            self._told(ended)
        except Exception as error:
            logger.error("the end of %s could not be reported", ended.what, exc_info=error)

    def connection(self) -> "RequestWatch":
        """Return the watch to which an HTTP/1.1 connection or an HTTP/2 stream reports its requests."""
        return RequestWatch(self.tell)

    def log_beside(self, own: CallLog | None) -> CallLog:
        """Return a log that passes the ends of calls to this object and to the access log of the server."""

        def write(call: Call, status: int, nanoseconds: int) -> None:
            self._call_ended(call, status, nanoseconds * 1e-9)
            if own is not None:
                own.note_end(call, status)

        return CallLog(write, 1.0, None)

    def refused(self, call: Any, status: int, text: str) -> None:
        """Note that a call does not start."""
        self._call_ended(call, status, call.age_seconds, text)

    def _call_ended(self, call: Any, status: int, seconds: float, reason: str = "") -> None:
        protocol = shown_protocol(call)
        if protocol is None:
            # The line of its request already reports this call.
            return
        method = call.method or "?"
        if method.startswith(_MOUNT):
            method = method.removeprefix(_MOUNT)
        name = Status(status).name
        self.tell(Ended(f"{protocol} {method}", name, status != Status.OK, seconds, reason))


class RequestWatch:
    """The requests of one connection of HTTP/1.1, one at a time, or the request of a stream of HTTP/2."""

    __slots__ = ("_began", "_head", "_status", "_tell")

    def __init__(self, tell: Callable[[Ended], None]) -> None:
        self._tell = tell
        self._head: Any = None
        self._status = 0
        self._began = 0.0

    def begin(self, head: Any) -> None:
        """Note the head of a request."""
        self._head, self._status, self._began = head, 0, time.monotonic()

    def note(self, status: int) -> None:
        """Note the status of its answer."""
        self._status = status

    def end(self, reason: str = "") -> None:
        """Note the end of its answer."""
        head, self._head = self._head, None
        if head is not None:
            seconds = time.monotonic() - self._began
            self._tell(_ended(f"{head.method} {head.target}", self._status, seconds, reason))

    def refuse(self, status: int) -> None:
        """Note the refusal of a request, whose head may be malformed."""
        if self._head is None:
            self._tell(_ended("-", status, 0.0, ""))
        else:
            self._status = self._status or status
            self.end()

    def cut(self) -> None:
        """Note the end of the connection, which may cut a request off."""
        self._status = self._status or _CLIENT_CLOSED
        self.end("cut off")


def _ended(what: str, status: int, seconds: float, reason: str) -> Ended:
    told = f"{status} {_PHRASES.get(status, '')}".rstrip()
    return Ended(what, told, status >= HTTPStatus.BAD_REQUEST or bool(reason), seconds, reason)
