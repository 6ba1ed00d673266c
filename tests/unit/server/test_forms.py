"""Bodies of forms: every cut of the bytes, limits, and malformed ones (RFC 7578, RFC 2046)."""

import gc
import sys
import weakref
from collections.abc import Iterable

import pytest

from fastrpc.errors import CallError
from fastrpc.server.http.forms import FormReader, boundary_of

BOUNDARY = b"XyZ"
LAST = b"--XyZ--"

Form = tuple[list[tuple[str, str]], str | None, str, bytes]


def part(name: str, value: bytes, filename: str | None = None, kind: str = "") -> bytes:
    disposition = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    head = f"Content-Disposition: {disposition}\r\n" + (f"Content-Type: {kind}\r\n" if kind else "")
    return b"--XyZ\r\n" + head.encode() + b"\r\n" + value + b"\r\n"


def read(body: bytes, cuts: Iterable[int] = (), boundary: bytes = BOUNDARY) -> Form:
    fields: list[tuple[str, str]] = []

    def arguments_of(pairs: list[tuple[str, str]]) -> bytes:
        fields.extend(pairs)
        return b"{}"

    reader = FormReader(boundary, "f", arguments_of)
    content = b""
    last = 0
    for cut in [*cuts, len(body)]:
        content += b"".join(reader.take(body[last:cut]))
        last = cut
    reader.end()
    assert reader.arguments() == b"{}"
    return fields, reader.filename, reader.content_type, content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\r\n",
        b"\r\n--Xy",
        b"a\r\n--XyY\r\n\r\n--",
        b"\r\r\n\r\n--X\r",
        b"\0" * 40,
        b"\r\n--Xy\r\n--Xy",
    ],
)
def test_every_cut_gives_the_same_parts(content: bytes) -> None:
    body = (
        b"pre\r\n"
        + part("a", "é".encode())
        + part("b", b"")
        + part("f", content, "C:\\x\\y.txt", "text/plain")
    )
    body += LAST + b"--\r\nepilogue"
    expected = ([("a", "é"), ("b", "")], "y.txt", "text/plain", content)
    assert read(body) == expected
    assert read(body, range(len(body))) == expected
    for cut in range(len(body) + 1):
        assert read(body, [cut]) == expected, cut


MALFORMED = [
    (part("f", b"x", "n"), "ends before"),
    (b"", "ends before"),
    (part("a", b"x") + LAST, "no file 'f'"),
    (LAST, "no file 'f'"),
    (
        part("f", b"x", "n") + part("a", b"1") + LAST,
        "a part follows the file: send the fields first, and one file as the last",
    ),
    (part("f", b"x", "n") + part("f", b"1", "m") + LAST, "follows the file"),
    (part("g", b"x", "n") + LAST, "only the part 'f' must have a filename"),
    (part("f", b"x") + LAST, "must have a filename"),
    (part("a", b"x" * 65_537) + LAST, "more than 65536 bytes"),
    (b"".join(part(f"a{number}", b"") for number in range(101)) + LAST, "more than 100 fields"),
    (b"--XyZjunk\r\n", "followed by"),
    (b"--XyZ-\r\n", "followed by"),
    (b"--XyZ" + b" " * 9_000, "too much space"),
    (part("a", b"\xff") + LAST, "UTF-8"),
    (b"x" * 9_000, "no boundary"),
    (
        b"--XyZ\r\nContent-Disposition: form-data; name=a\r\nX: " + b"y" * 8_200 + b"\r\n\r\n\r\n",
        "more than 8192",
    ),
    (b"--XyZ\r\nX: " + b"y" * 9_000, "more than 8192"),
    (b"--XyZ\r\n\r\nq\r\n" + LAST, "malformed"),
    (b"--XyZ\r\nno field\r\n\r\nq\r\n" + LAST, "malformed"),
    (b"--XyZ\r\nX: 1\r\nx: 2\r\n\r\nq\r\n" + LAST, "malformed"),
    (b"--XyZ\r\nX: a\x00b\r\n\r\nq\r\n" + LAST, "malformed"),
    (b"--XyZ\r\nContent-Disposition: form-data;\r\n name=a\r\n\r\nq\r\n" + LAST, "malformed"),
    (b"--XyZ\r\nContent-Type: text/plain\r\n\r\nq\r\n" + LAST, "with a name"),
    (b"--XyZ\r\nContent-Disposition: attachment; name=a\r\n\r\nq\r\n" + LAST, "with a name"),
    (b"--XyZ\r\nContent-Disposition: form-data\r\n\r\nq\r\n" + LAST, "with a name"),
    (b"--XyZ\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\nq\r\n" + LAST, "with a name"),
    (b'--XyZ\r\nContent-Disposition: form-data; name="a\r\n\r\nq\r\n' + LAST, "with a name"),
    (
        b"--XyZ\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\nq\r\n"
        + LAST,
        "Content-Transfer-Encoding",
    ),
    (b"--XyZ\nContent-Disposition: form-data; name=a\n\nq\n" + LAST, "followed by"),
]


@pytest.mark.parametrize(("body", "text"), MALFORMED, ids=[text for _, text in MALFORMED])
def test_a_malformed_form_is_refused_at_every_cut(body: bytes, text: str) -> None:
    for cuts in ((), range(len(body))):
        with pytest.raises(CallError, match=text):
            read(body, cuts)


def test_the_largest_field_and_the_most_fields_pass() -> None:
    fields = [("a", "x" * 65_536), *((f"a{number}", "") for number in range(99))]
    body = b"".join(part(name, value.encode()) for name, value in fields) + part("f", b"1", "n") + LAST
    assert read(body) == (fields, "n", "application/octet-stream", b"1")


def test_kept_bytes_of_a_file_are_shorter_than_its_delimiter() -> None:
    reader = FormReader(BOUNDARY, "f", lambda pairs: b"")
    reader.take(part("f", b"", "n")[:-2])
    for _ in range(100):
        assert sum(map(len, reader.take(b"\r\n--Xy" * 1_000))) >= 6_000 - 7


@pytest.mark.parametrize(
    ("text", "boundary"),
    [
        ("multipart/form-data; boundary=XyZ", b"XyZ"),
        ('multipart/form-data; charset=utf-8; BOUNDARY="X y"', b"X y"),
        (f"multipart/form-data; boundary={'a' * 70}", b"a" * 70),
        ("multipart/form-data;boundary=----WebKitFormBoundaryX", b"----WebKitFormBoundaryX"),
        (f"multipart/form-data; boundary={'a' * 71}", None),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ('multipart/form-data; boundary="a "', None),
        ("multipart/form-data; boundary=é", None),
    ],
)
def test_a_boundary_has_1_to_70_characters(text: str, boundary: bytes | None) -> None:
    if boundary is not None:
        assert boundary_of(text) == boundary
        return
    with pytest.raises(CallError, match="boundary of 1 to 70"):
        boundary_of(text)


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a.txt", "a.txt"),
        ("a/b.txt", "b.txt"),
        ("..\\..\\b.txt", "b.txt"),
        ("..", ""),
        ("/", ""),
        ("", ""),
        ("a%22b%0D%0A.txt", 'a"b.txt'),
        ('a\\"b.txt', 'a"b.txt'),
        ("é\u202e\u0085.txt", "é.txt"),
    ],
)
def test_a_filename_is_a_last_component_without_control_characters(sent: str, name: str) -> None:
    assert read(part("f", b"", sent) + LAST)[1] == name


def test_a_name_in_another_charset_and_an_unquoted_one_are_read() -> None:
    head = b"--XyZ\r\ncontent-disposition:form-data;name=a%22b;x=1\r\n\r\nq\r\n"
    latin = (
        b"--XyZ\r\nContent-Disposition: form-data; name=f; filename=\"\xe9\"; filename*=UTF-8''b\r\n\r\n\r\n"
    )
    assert read(head + latin + LAST)[:2] == ([('a"b', "q")], "\ufffd")


# Bodies as programs send them.


def test_the_body_of_curl_is_read() -> None:
    body = (
        b"--------------------------d74496d66958873e\r\n"
        b'Content-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b"--------------------------d74496d66958873e\r\n"
        b'Content-Disposition: form-data; name="f"; filename="a \\"b\\".bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\x00\r\n\r\n"
        b"--------------------------d74496d66958873e--\r\n"
    )
    boundary = boundary_of("multipart/form-data; boundary=------------------------d74496d66958873e")
    expected = ([("note", "hello")], 'a "b".bin', "application/octet-stream", b"\x00\r\n")
    assert read(body, range(len(body)), boundary) == expected


def test_the_body_of_a_browser_is_read() -> None:
    body = (
        b"------WebKitFormBoundaryA1b2C3\r\n"
        b'Content-Disposition: form-data; name="note"\r\n\r\ntwo\r\nlines\r\n'
        b"------WebKitFormBoundaryA1b2C3\r\n"
        b'Content-Disposition: form-data; name="f"; filename="%22\xc3\xa9.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nabc\r\n"
        b"------WebKitFormBoundaryA1b2C3--\r\n"
    )
    boundary = boundary_of("multipart/form-data; boundary=----WebKitFormBoundaryA1b2C3")
    assert read(body, range(len(body)), boundary) == (
        [("note", "two\r\nlines")],
        '"é.txt',
        "text/plain",
        b"abc",
    )


def taken_bytes(value: object) -> int:
    """Return the memory that a value takes with the texts in it."""
    held = sys.getsizeof(value)
    return held + sum(map(taken_bytes, value)) if isinstance(value, list | tuple) else held


@pytest.mark.parametrize("sign", ["x", "é", "€", "\U0001f600"])
@pytest.mark.parametrize("letters", [0, 1, 60_000])
def test_fields_count_their_size_in_memory_for_any_characters(sign: str, letters: int) -> None:
    reader = FormReader(BOUNDARY, "f", lambda _: b"")
    form = part("a", ("x" * letters + sign).encode()) * 10
    for start in range(0, len(form), 10_000):
        reader.take(form[start : start + 10_000])
    kept = taken_bytes(reader._fields) + sys.getsizeof(reader._kept)
    assert 0.9 * kept - 1_000 <= reader.held <= 1.1 * kept + 1_000
    # As many bytes as came: a `str` could have four for a letter.
    assert reader.field_bytes <= len(form) + 2_000


def test_a_buffer_that_was_cut_counts_whole() -> None:
    reader = FormReader(BOUNDARY, "f", lambda _: b"")
    reader.take(part("a", b"x" * 60_000) + b"--XyZ\r\n" + b"C" * 40)
    assert reader.held >= taken_bytes(reader._fields) + sys.getsizeof(reader._kept) - 200


def test_a_form_that_is_refused_is_freed_at_once() -> None:
    reader = FormReader(BOUNDARY, "f", lambda _: b"")
    gone = weakref.ref(reader)
    gc.disable()
    try:
        reader.take(part("a", b"x" * 60_000))
        del reader
        assert gone() is None
    finally:
        gc.enable()
