"""Report the end of each request and call once, for `fastrpc dev`.

::

    head ──► begin ──► note (status) ──► end       an HTTP/1.1 request; instead of end: refuse, or cut
    call ──► its end, or its refusal               a call that is not itself such a request
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

#: The status of a request whose client disconnected before the answer. Proxies log the same number.
_CLIENT_CLOSED: Final = 499
_PHRASES: Final = {int(status): status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    _CLIENT_CLOSED: "Client Closed Request",
}

#: The prefix of the method names of mounted applications.
_MOUNT: Final = "_mount."


class Ended(NamedTuple):
    """The end of a request, or of a call."""

    #: The method and target of a request, or the protocol and method of a call. Peers choose these texts.
    what: str
    status: str
    is_error: bool
    seconds: float
    #: The reason if the request or call was refused or interrupted, else "".
    reason: str = ""


class Ends:
    """Reports the end of each request and call of a server to a function.

    Args:
        tell: is called with each end, on the loop of the server. Its exceptions are logged.
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
        """Return a log that reports the end of each call to this object and to the server's access log."""

        def write(call: Call, status: int, nanoseconds: int) -> None:
            self._call_ended(call, status, nanoseconds * 1e-9)
            if own is not None:
                own.note_end(call, status)

        return CallLog(write, 1.0, None)

    def refused(self, call: Any, status: int, text: str) -> None:
        """Report a call that is refused before its start."""
        self._call_ended(call, status, call.age_seconds, text)

    def _call_ended(self, call: Any, status: int, seconds: float, reason: str = "") -> None:
        protocol = shown_protocol(call)
        if protocol is None:
            # The end of the call's HTTP request is reported instead.
            return
        method = call.method or "?"
        if method.startswith(_MOUNT):
            method = method.removeprefix(_MOUNT)
        name = Status(status).name
        self.tell(Ended(f"{protocol} {method}", name, status != Status.OK, seconds, reason))


class RequestWatch:
    """Reports the requests of an HTTP/1.1 connection, one after another, or the request of an HTTP/2 stream."""

    __slots__ = ("_began", "_head", "_status", "_tell")

    def __init__(self, tell: Callable[[Ended], None]) -> None:
        self._tell = tell
        self._head: Any = None
        self._status = 0
        self._began = 0.0

    def begin(self, head: Any) -> None:
        """Record the head of a request."""
        self._head, self._status, self._began = head, 0, time.monotonic()

    def note(self, status: int) -> None:
        """Record the status of the answer."""
        self._status = status

    def end(self, reason: str = "") -> None:
        """Report the request, at the end of its answer."""
        head, self._head = self._head, None
        if head is not None:
            seconds = time.monotonic() - self._began
            self._tell(_ended(f"{head.method} {head.target}", self._status, seconds, reason))

    def refuse(self, status: int) -> None:
        """Report the refusal of a request, whose head may be malformed."""
        if self._head is None:
            self._tell(_ended("-", status, 0.0, ""))
        else:
            self._status = self._status or status
            self.end()

    def cut(self) -> None:
        """Report the request, if any, that the end of the connection interrupts."""
        self._status = self._status or _CLIENT_CLOSED
        self.end("cut off")


def _ended(what: str, status: int, seconds: float, reason: str) -> Ended:
    told = f"{status} {_PHRASES.get(status, '')}".rstrip()
    return Ended(what, told, status >= HTTPStatus.BAD_REQUEST or bool(reason), seconds, reason)
