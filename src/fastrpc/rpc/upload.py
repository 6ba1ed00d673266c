"""The uploaded file of a form, as a handler receives it."""

from collections.abc import AsyncIterable, AsyncIterator

__all__ = ["Upload"]


class Upload(AsyncIterator[bytes]):
    """A stream of bytes from the caller, which may be an uploaded file of an HTML form.

    Annotate a method's stream parameter with it. A request in multipart/form-data yields its file piece by piece. Other
    callers send a stream of bytes; then both texts are empty. Tests can create an Upload from any asynchronous
    iterable.

    Attributes:
        filename: the last component of the name that the caller gives the file, without control characters. Never trust
            it: choose another name to store the file.
        content_type: the media type that the caller states. The bytes may have another type.
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
