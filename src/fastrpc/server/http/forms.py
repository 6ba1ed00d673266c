"""Parse forms in multipart/form-data (RFC 7578, RFC 2046): plain fields, then one file.

::

    preamble ──► head of a part ──► field ──► …          all fields precede the file
                          └──► file ──► its bytes, as they arrive ──► end

Pieces of a file are passed on as they arrive. Only bytes that may be the start of a delimiter are kept back.
"""

import re
from collections.abc import Callable
from typing import ClassVar, Final, Literal

from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["FormReader", "boundary_of"]

MOST_FIELDS: Final = 100
MOST_FIELD_BYTES: Final = 64 * 1024
MOST_HEAD_BYTES: Final = 8 * 1024
#: The bytes of memory of a stored field in addition to its name and text: three objects and a place in a list.
_FIELD_COST: Final = 160

#: The syntax of a boundary (RFC 2046, section 5.1.1).
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_NAME: Final = r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)"
_PARAMETER: Final = re.compile(rf';[ \t]*{_NAME}[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;" \t]*)[ \t]*')
_FIELD: Final = re.compile(rf"{_NAME}:([^\x00-\x08\x0a-\x1f\x7f]*)")
#: The characters that browsers encode in a name (HTML, "multipart/form-data encoding algorithm").
_ENCODED: Final = re.compile(r"%(22|0D|0A)", re.IGNORECASE)
_PLAIN_ENCODINGS: Final = frozenset({"7bit", "8bit", "binary"})

#: The part of a form that is parsed next.
_State = Literal["preamble", "behind_delimiter", "head", "field", "first_of_file", "content", "epilogue"]


def boundary_of(content_type: str) -> bytes:
    """Return the boundary in the Content-Type of a form.

    Raises:
        CallError: the Content-Type has no boundary, or a malformed one.
    """
    text = _parameters(content_type).get("boundary", "")
    if not _BOUNDARY.fullmatch(text):
        raise _refusal("the Content-Type of a form needs a boundary of 1 to 70 characters")
    return text.encode()


class FormReader:
    """Reads one form.

    Args:
        file: the name of the part with the file.
        arguments_of: converts pairs of names and values to arguments by name, as JSON.
    """

    def __init__(
        self, boundary: bytes, file: str, arguments_of: Callable[[list[tuple[str, str]]], bytes]
    ) -> None:
        self._file = file
        self._arguments_of = arguments_of
        self._delimiter = b"\r\n--" + boundary
        # A delimiter starts with a line end, which is missing if the first delimiter is at the start of the body. So
        # add one.
        self._kept = bytearray(b"\r\n")
        #: The offset at which the search for the next mark continues.
        self._searched = 0
        self._state: _State = "preamble"
        self._part = ""
        self._is_complete = False
        #: Names and texts in UTF-8, to save memory: a `str` uses four bytes for each character if one is beyond U+FFFF.
        self._fields: list[tuple[bytes, bytes]] = []
        #: The bytes of memory of the fields.
        self.field_bytes = 0
        #: The name of the file; None until the head of its part is complete. Then the handler can start.
        self.filename: str | None = None
        self.content_type = ""

    def take(self, data: bytes) -> list[bytes]:
        """Parse bytes of the body; return pieces of the file.

        Raises:
            CallError: the form is malformed or exceeds a limit.
        """
        self._kept += data
        pieces: list[bytes] = []
        while self._STEPS[self._state](self, pieces):
            pass
        return pieces

    def arguments(self) -> bytes:
        """Return the fields as arguments.

        Raises:
            CallError: the fields are not arguments of the method.
        """
        fields, self._fields = self._fields, []
        self.field_bytes = 0
        return self._arguments_of([(name.decode(), text.decode()) for name, text in fields])

    @property
    def held(self) -> int:
        """The bytes of memory in use. The buffer does not shrink when a part of it is passed on."""
        return self.field_bytes + self._kept.__alloc__()

    def end(self) -> None:
        """Check that the form is complete at the end of the body.

        Raises:
            CallError: the form is incomplete.
        """
        if not self._is_complete:
            raise _refusal("the form ends before its last boundary")
        if self.filename is None:
            raise _refusal(f"the form has no file {self._file!r}")

    # Each step returns True if the next part can be parsed from the received bytes.

    def _preamble(self, pieces: list[bytes]) -> bool:
        at = self._find(
            self._delimiter, MOST_HEAD_BYTES, f"there is no boundary within {MOST_HEAD_BYTES} bytes"
        )
        return at >= 0 and self._follow("behind_delimiter", at + len(self._delimiter))

    def _behind_delimiter(self, pieces: list[bytes]) -> bool:
        if self._kept.startswith(b"--"):
            self._is_complete = True
            return self._follow("epilogue", 2)
        end = self._find(b"\r\n", MOST_HEAD_BYTES, "a boundary is followed by too much space")
        # Before the line end has arrived, the last byte may be its "\r", or the first "-" after the last boundary.
        if bytes(self._kept[:end]).strip(b" \t") if end >= 0 else bytes(self._kept).strip(b" \t\r-"):
            raise _refusal("a boundary must be followed by a line end")
        if end >= 0 and self.filename is not None:
            raise _refusal("a part follows the file: send the fields first, and one file as the last part")
        # Keep the line end, so that even a head without fields ends with two line ends.
        return end >= 0 and self._follow("head", end)

    def _head(self, pieces: list[bytes]) -> bool:
        too_long = f"the head of a part has more than {MOST_HEAD_BYTES} bytes"
        end = self._find(b"\r\n\r\n", MOST_HEAD_BYTES, too_long)
        if end < 0:
            return False
        self._take_head(bytes(self._kept[2:end]))
        # Keep the last line end, because in an empty part it belongs to the delimiter.
        return self._follow("field" if self.filename is None else "first_of_file", end + 2)

    def _take_head(self, head: bytes) -> None:
        """Parse the head of a part: its name, and for the file its filename and type."""
        found: dict[str, str] = {}
        for line in head.split(b"\r\n"):
            matched = _FIELD.fullmatch(line.decode("utf-8", "replace"))
            if matched is None or matched[1].lower() in found:
                raise _refusal("the head of a part is malformed")
            found[matched[1].lower()] = matched[2].strip(" \t")
        disposition = found.get("content-disposition", "")
        parameters = _parameters(disposition)
        if disposition.partition(";")[0].strip().lower() != "form-data" or "name" not in parameters:
            raise _refusal("a part needs Content-Disposition: form-data with a name")
        if found.get("content-transfer-encoding", "binary").lower() not in _PLAIN_ENCODINGS:
            raise _refusal("a part has a Content-Transfer-Encoding")
        self._part = _decoded(parameters["name"])
        is_file = self._part == self._file
        if is_file != ("filename" in parameters):
            raise _refusal(f"only the part {self._file!r} must have a filename: it is the file")
        if is_file:
            self.filename = _last_component(parameters["filename"])
            self.content_type = found.get("content-type", "application/octet-stream")
        elif len(self._fields) >= MOST_FIELDS:
            raise _refusal(f"the form has more than {MOST_FIELDS} fields")

    def _field(self, pieces: list[bytes]) -> bool:
        too_long = f"{self._part!r:.100} has more than {MOST_FIELD_BYTES} bytes"
        # The first two bytes are the line end of the head, not part of the field.
        at = self._find(self._delimiter, MOST_FIELD_BYTES + 2, too_long)
        if at < 0:
            return False
        name, text = self._part.encode(), bytes(self._kept[2:at])
        try:
            text.decode()
        except UnicodeDecodeError:
            raise _refusal(f"{self._part!r:.100} is not text in UTF-8") from None
        self._fields.append((name, text))
        self.field_bytes += len(name) + len(text) + _FIELD_COST
        return self._follow("behind_delimiter", at + len(self._delimiter))

    def _first_of_file(self, pieces: list[bytes]) -> bool:
        if self._delimiter.startswith(self._kept) and len(self._kept) < len(self._delimiter):
            # These bytes may be the start of the delimiter after an empty file.
            return False
        # Drop the line end of the head, unless it belongs to the delimiter.
        return self._follow("content", 0 if self._kept.startswith(self._delimiter) else 2)

    def _content(self, pieces: list[bytes]) -> bool:
        at = self._kept.find(self._delimiter)
        size = len(self._kept) if at < 0 else at
        if at < 0:
            # Keep the last bytes if they may be the start of a delimiter.
            start = self._kept.find(b"\r", max(0, size - len(self._delimiter) + 1))
            while start >= 0 and not self._delimiter.startswith(self._kept[start:]):
                start = self._kept.find(b"\r", start + 1)
            size = size if start < 0 else start
        if size:
            pieces.append(bytes(self._kept[:size]))
            del self._kept[:size]
        return at >= 0 and self._follow("behind_delimiter", len(self._delimiter))

    def _epilogue(self, pieces: list[bytes]) -> bool:
        self._kept.clear()
        return False

    def _follow(self, state: _State, size: int) -> bool:
        """Drop the first `size` bytes, and parse another part next."""
        del self._kept[:size]
        self._searched = 0
        self._state = state
        return True

    def _find(self, mark: bytes, most: int, too_long: str) -> int:
        """Return the offset of a mark, -1 if it has not arrived. Refuse a form without it within `most` bytes."""
        at = self._kept.find(mark, self._searched)
        self._searched = max(0, len(self._kept) - len(mark) + 1)
        if at > most or (at < 0 and self._searched > most):
            raise _refusal(too_long)
        return at

    #: The function that parses each part.
    _STEPS: ClassVar[dict[_State, Callable[["FormReader", list[bytes]], bool]]] = {
        "preamble": _preamble,
        "behind_delimiter": _behind_delimiter,
        "head": _head,
        "field": _field,
        "first_of_file": _first_of_file,
        "content": _content,
        "epilogue": _epilogue,
    }


def _parameters(text: str) -> dict[str, str]:
    """Return the parameters of a header field by lower-case name; an empty dict if they are malformed or repeated."""
    found: dict[str, str] = {}
    at = text.find(";")
    while 0 <= at < len(text):
        matched = _PARAMETER.match(text, at)
        if matched is None or matched[1].lower() in found:
            return {}
        value = matched[2]
        found[matched[1].lower()] = re.sub(r'\\(["\\])', r"\1", value[1:-1]) if value[:1] == '"' else value
        at = matched.end()
    return found


def _decoded(name: str) -> str:
    return _ENCODED.sub(lambda found: chr(int(found[1], 16)), name)


def _last_component(path: str) -> str:
    last = re.split(r"[/\\]", _decoded(path))[-1]
    name = "".join(sign for sign in last if sign.isprintable())
    return "" if name in {".", ".."} else name


def _refusal(text: str) -> CallError:
    return CallError(Status.INVALID_ARGUMENT, text, processed="no")
