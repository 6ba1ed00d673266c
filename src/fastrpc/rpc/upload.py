"""The file of a form, as a handler receives it."""

from collections.abc import AsyncIterable, AsyncIterator

__all__ = ["Upload"]


class Upload(AsyncIterator[bytes]):
    """A stream of bytes from the caller, which may be the file of an HTML form.

    The annotation of a method's stream parameter. A request in multipart/form-data gives its file, piece by piece.
    Other callers send a stream of bytes, and leave both texts empty. Tests make one of any asynchronous iterable.

    Attributes:
        filename: the name that the caller gives the file: its last component, without control characters. Never trust
            it: store the file under a name of your own.
        content_type: the media type that the caller names; the bytes may be anything.
    """

    __slots__ = ("_pieces", "content_type", "filename")

    def __init__(self, pieces: AsyncIterable[bytes], *, filename: str = "", content_type: str = "") -> None:
        self._pieces = aiter(pieces)
        self.filename = filename
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"<Upload {self.filename!r:.100} {self.content_type!r:.100}>"

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)
