"""Convert HTTP/1.1 answers of the engine to ASGI events: a start, and parts of the body without HTTP/1.1 framing."""

from collections.abc import Iterator
from typing import Any, Final

__all__ = ["EngineAnswer"]

#: Fields that the ASGI server sets itself: fields about its connection, and the date.
_OF_CONNECTION: Final = frozenset({b"connection", b"date", b"transfer-encoding", b"upgrade"})

_BODILESS: Final = frozenset({101, 204, 304})

_CONTINUE: Final = b"HTTP/1.1 100 "
_HEAD_END: Final = b"\r\n\r\n"
_LINE_END: Final = b"\r\n"


class EngineAnswer:
    """Reads one answer of the engine in pieces of any size. It relies on well-formed answers."""

    def __init__(self, *, is_head: bool) -> None:
        self._is_head = is_head
        self._kept = b""
        self.status = 0
        self.fields: list[tuple[bytes, bytes]] = []
        # Remaining bytes of the body or of a chunk; -1 if the body lasts until the end of the connection.
        self._left = 0
        self._is_chunked = False
        self.is_whole = False
        #: True if the answer began with 100 Continue.
        self.asks_for_body = False

    @property
    def has_begun(self) -> bool:
        """True if the head has arrived."""
        return self.status != 0

    @property
    def rest(self) -> bytes:
        """The bytes after it."""
        return self._kept

    @property
    def ends_with_connection(self) -> bool:
        """True if the body lasts until the end of the connection."""
        return self._left < 0

    def take(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the events for further bytes. Empty bytes mean the end of the connection."""
        if not data:
            yield from self._end()
            return
        self._kept += data
        while not self.has_begun:
            head, end, rest = self._kept.partition(_HEAD_END)
            if not end:
                return
            self._kept = rest
            if head.startswith(_CONTINUE):
                self.asks_for_body = True
                continue
            self._read_head(head)
            yield {"type": "http.response.start", "status": self.status, "headers": self.fields}
        if self._is_chunked:
            yield from self._chunks()
        elif not self.is_whole:
            part, self._kept = self._kept, b""
            if self._left > 0:
                self._left -= len(part)
                self.is_whole = self._left <= 0
            if part or self.is_whole:
                yield _part(part, has_more=not self.is_whole)
            return
        if self.is_whole:
            yield _part(b"", has_more=False)

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(_LINE_END)
        self.status = int(first[9:12])
        self._left = -1
        for line in lines:
            name, _, value = line.partition(b": ")
            name = name.lower()
            if name == b"content-length":
                self._left = int(value)
            elif name == b"transfer-encoding":
                self._is_chunked = True
            if name not in _OF_CONNECTION:
                self.fields.append((name, value))
        if self._is_head or self.status in _BODILESS or self._left == 0:
            self.is_whole, self._is_chunked, self._left = True, False, 0
        elif self._is_chunked:
            self._left = 0

    def _chunks(self) -> Iterator[dict[str, Any]]:
        """Yield the content of chunks as far as it has arrived."""
        while self._kept and not self.is_whole:
            if not self._left:
                line, end, rest = self._kept.partition(_LINE_END)
                if not end:
                    return
                self._left, self._kept = int(line, 16) + len(_LINE_END), rest
                self.is_whole = self._left == len(_LINE_END)
                continue
            part, self._kept = self._kept[: self._left], self._kept[self._left :]
            # Only a part of the line end after a chunk may have arrived.
            content = part[: max(0, self._left - len(_LINE_END))]
            self._left -= len(part)
            if content:
                yield _part(content, has_more=True)

    def _end(self) -> Iterator[dict[str, Any]]:
        """Handle the end of the connection, which ends an answer without a length. Other answers are incomplete."""
        self.is_whole = True
        if not self.has_begun:
            yield {"type": "http.response.start", "status": 503, "headers": []}
        yield _part(b"", has_more=False)


def _part(content: bytes, *, has_more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": has_more}
