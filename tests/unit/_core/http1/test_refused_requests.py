"""Requests that could smuggle another one, or are malformed: each gets an error, and the connection closes."""

import pytest

from fastrpc._core.exchange.request_head import RequestLimits
from tests.support.http_echo import HttpTalk

#: Behind each refused request: nobody may take it for a request.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def posted(*fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST /x HTTP/1.1", b"Host: a", *fields, b"", b""]) + body


def got(*fields: bytes, line: bytes = b"GET /x HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: a", *fields, b"", b""])


CHUNKED = b"Transfer-Encoding: chunked"

REFUSED: dict[str, bytes] = {
    # Both lengths, or lengths that two programs may read differently.
    "CL and TE": posted(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"),
    "TE and CL": posted(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"),
    "CL 0 and TE": posted(b"Content-Length: 0", CHUNKED, body=b"0\r\n\r\n"),
    "CL twice, equal": posted(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    "CL twice, different": posted(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"),
    "CL as a list of equal ones": posted(b"Content-Length: 5, 5", body=b"hello"),
    "CL as a list": posted(b"Content-Length: 5, 6", body=b"hello"),
    "CL with a plus": posted(b"Content-Length: +5", body=b"hello"),
    "CL with a minus": posted(b"Content-Length: -5", body=b"hello"),
    "CL of minus zero": posted(b"Content-Length: -0"),
    "CL in hexadecimal": posted(b"Content-Length: 0x5", body=b"hello"),
    "CL with an underscore": posted(b"Content-Length: 1_0", body=b"hello12345"),
    "CL with a dot": posted(b"Content-Length: 5.0", body=b"hello"),
    "CL with an exponent": posted(b"Content-Length: 5e0", body=b"hello"),
    "CL with a space inside": posted(b"Content-Length: 1 0", body=b"hello12345"),
    "CL in quotes": posted(b'Content-Length: "5"', body=b"hello"),
    "CL that is empty": posted(b"Content-Length:", body=b"hello"),
    "CL of letters": posted(b"Content-Length: five", body=b"hello"),
    "CL of digits of another script": posted(b"Content-Length: \xb2", body=b"he"),
    "CL beyond 63 bits": posted(b"Content-Length: 99999999999999999999"),
    "CL of 2**64 and 5": posted(b"Content-Length: 18446744073709551621", body=b"hello"),
    "CL with a semicolon": posted(b"Content-Length: 5;x", body=b"hello"),
    "CL in mixed case twice": posted(b"content-length: 5", b"CONTENT-LENGTH: 5", body=b"hello"),
    "TE twice": posted(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
    "TE chunked twice in one": posted(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "TE identity": posted(b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "TE gzip, chunked": posted(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "TE chunked, identity": posted(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "TE xchunked": posted(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "TE chunked with a parameter": posted(b"Transfer-Encoding: chunked;q=1", body=b"0\r\n\r\n"),
    "TE in quotes": posted(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "TE that is empty": posted(b"Transfer-Encoding:", body=b"0\r\n\r\n"),
    "TE behind a vertical tab": posted(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "TE behind a no-break space": posted(b"Transfer-Encoding: \xa0chunked", body=b"0\r\n\r\n"),
    "TE behind NUL": posted(b"Transfer-Encoding: chunked\x00", body=b"0\r\n\r\n"),
    "TE on a folded line": posted(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"),
    "TE of HTTP/1.0": b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    # Fields.
    "space before the colon": posted(b"Content-Length : 5", body=b"hello"),
    "tab before the colon": posted(b"Content-Length\t: 5", body=b"hello"),
    "space before the colon of TE": posted(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "space before a name": got(b" X: 1"),
    "tab before a name": got(b"\tX: 1"),
    "folded field": got(b"X: 1", b" 2"),
    "field folded by a tab": got(b"X: 1", b"\t2"),
    "space before the first field": b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n",
    "field without a colon": got(b"X"),
    "field without a name": got(b": 1"),
    "name with a space": got(b"X Y: 1"),
    "name with NUL": got(b"X\x00Y: 1"),
    "name with a bracket": got(b"X[: 1"),
    "name with a letter beyond ASCII": got(b"X\xe9: 1"),
    "name with a comma": got(b"X,Y: 1"),
    "name with a slash": got(b"X/Y: 1"),
    "value with NUL": got(b"X: 1\x002"),
    "value with a bare CR": got(b"X: 1\r2"),
    "value with CR before TE": got(b"X: 1\rTransfer-Encoding: chunked"),
    "value with a control byte": got(b"X: 1\x012"),
    "value with DEL": got(b"X: 1\x7f2"),
    "bare LF behind the line": b"GET /x HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF behind a field": b"GET /x HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
    "bare LF as the end": b"GET /x HTTP/1.1\r\nHost: a\r\n\n",
    "only bare LF": b"GET /x HTTP/1.1\nHost: a\n\n",
    "CR CR LF": b"GET /x HTTP/1.1\r\nHost: a\r\r\n\r\n",
    # Host.
    "no Host": b"GET /x HTTP/1.1\r\n\r\n",
    "Host twice": got(b"Host: a"),
    "Host twice, different": got(b"Host: b"),
    "Host twice in mixed case": got(b"hOST: a"),
    "Host that is empty": b"GET /x HTTP/1.1\r\nHost:\r\n\r\n",
    "Host as a list": b"GET /x HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "Host with a path": b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "Host with a user": b"GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "Host with a space": b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
    **{
        f"Host {host}": f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        for host in (
            *("[::1", "[::1]evil.com", "[::1]:", "[]", "[localhost]", "[::1%25x]", "::1", "[::1]80"),
            *(
                "localhost:evil.com",
                "localhost:80evil",
                "a:1:2",
                "a:",
                ":80",
                "a:123456",
                "a:65536",
                "[::1]:99999",
                "a:+80",
                "a:-1",
                "a:8O",
                "a: 80",
                "a:８０",
                "a]",
                "a[b]",
            ),
        )
    },
    "Host twice in HTTP/1.0": b"GET /x HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
    # The request line.
    "absolute target of another host": got(line=b"GET http://b/x HTTP/1.1"),
    "absolute target with a user": got(line=b"GET http://u@a/x HTTP/1.1"),
    "absolute target with another port": got(line=b"GET http://a:81/x HTTP/1.1"),
    "absolute target without a host": got(line=b"GET http:///x HTTP/1.1"),
    "absolute target of another scheme": got(line=b"GET ftp://a/x HTTP/1.1"),
    "absolute target without a Host field": b"GET http://a/x HTTP/1.1\r\n\r\n",
    "authority as the target": got(line=b"GET a:80 HTTP/1.1"),
    "CONNECT": got(line=b"CONNECT a:443 HTTP/1.1"),
    "CONNECT to an absolute target": got(line=b"CONNECT http://a/ HTTP/1.1"),
    "target without a slash": got(line=b"GET x HTTP/1.1"),
    "star for GET": got(line=b"GET * HTTP/1.1"),
    "target with a space": got(line=b"GET /x y HTTP/1.1"),
    "target with a tab": got(line=b"GET /x\ty HTTP/1.1"),
    "target with NUL": got(line=b"GET /x\x00 HTTP/1.1"),
    "target with a byte beyond ASCII": got(line=b"GET /\xe9 HTTP/1.1"),
    "target with a fragment": got(line=b"GET /x#y HTTP/1.1"),
    "no target": got(line=b"GET HTTP/1.1"),
    "empty target": got(line=b"GET  HTTP/1.1"),
    "two spaces behind the method": got(line=b"GET  /x HTTP/1.1"),
    "two spaces before the version": got(line=b"GET /x  HTTP/1.1"),
    "space behind the version": got(line=b"GET /x HTTP/1.1 "),
    "tab as the space": got(line=b"GET\t/x HTTP/1.1"),
    "no version": got(line=b"GET /x"),
    "version 0.9": got(line=b"GET /x HTTP/0.9"),
    "version 1.2": got(line=b"GET /x HTTP/1.2"),
    "version 2.0": got(line=b"GET /x HTTP/2.0"),
    "version 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 1.10": got(line=b"GET /x HTTP/1.10"),
    "version 01.1": got(line=b"GET /x HTTP/01.1"),
    "version in small letters": got(line=b"GET /x http/1.1"),
    "version of another protocol": got(line=b"GET /x HTTPS/1.1"),
    "space before the method": got(line=b" GET /x HTTP/1.1"),
    "method with a bracket": got(line=b"GE[ /x HTTP/1.1"),
    "method with a colon": got(line=b"GET: /x HTTP/1.1"),
    "method that is empty": got(line=b"/x HTTP/1.1"),
    "method of 33 letters": got(line=b"G" * 33 + b" /x HTTP/1.1"),
    "two empty lines before the request": b"\r\n\r\n" + got(),
    "bare CR before the request": b"\rG" + got(),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "the native protocol": b"\xf5FRPC\x00\x01",
    # Chunks.
    "chunk size with a sign": posted(CHUNKED, body=b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with a minus": posted(CHUNKED, body=b"-1\r\nhello\r\n0\r\n\r\n"),
    "chunk size with 0x": posted(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with an underscore": posted(CHUNKED, body=b"1_0\r\nhello\r\n0\r\n\r\n"),
    "chunk size that is empty": posted(CHUNKED, body=b"\r\nhello\r\n0\r\n\r\n"),
    "chunk size of other letters": posted(CHUNKED, body=b"g\r\nhello\r\n0\r\n\r\n"),
    "chunk size beyond 63 bits": posted(CHUNKED, body=b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
    "chunk size of 2**64 and 5": posted(CHUNKED, body=b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "chunk size behind a space": posted(CHUNKED, body=b" 5\r\nhello\r\n0\r\n\r\n"),
    "chunk size before a space": posted(CHUNKED, body=b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunk size with bare LF": posted(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"),
    "chunk size with bare CR": posted(CHUNKED, body=b"5\rhello\r\n0\r\n\r\n"),
    "chunk without its CRLF": posted(CHUNKED, body=b"5\r\nhello0\r\n\r\n"),
    "chunk that ends with bare LF": posted(CHUNKED, body=b"5\r\nhello\n0\r\n\r\n"),
    "chunk that is longer than its size": posted(CHUNKED, body=b"4\r\nhello\r\n0\r\n\r\n"),
    "chunk extension with bare LF": posted(CHUNKED, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "chunk extension with CR": posted(CHUNKED, body=b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "chunk extension with NUL": posted(CHUNKED, body=b"5;a\x00b\r\nhello\r\n0\r\n\r\n"),
    "chunk extension that is long": posted(CHUNKED, body=b"5;" + b"a" * 200 + b"\r\nhello\r\n0\r\n\r\n"),
    "trailer that is folded": posted(CHUNKED, body=b"0\r\nX: 1\r\n 2\r\n\r\n"),
    "trailer without a colon": posted(CHUNKED, body=b"0\r\nX\r\n\r\n"),
    "trailer with bare LF": posted(CHUNKED, body=b"0\r\nX: 1\n\r\n"),
    "trailer with space before the colon": posted(CHUNKED, body=b"0\r\nX : 1\r\n\r\n"),
    "end of the chunks with bare LF": posted(CHUNKED, body=b"0\r\n\n"),
}


def test_there_are_a_hundred_of_them() -> None:
    assert len(REFUSED) >= 100


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
async def test_a_request_that_could_smuggle_is_refused(data: bytes, is_cut: bool) -> None:
    talk = HttpTalk()
    for piece in [data[at : at + 1] for at in range(len(data))] if is_cut else [data]:
        if talk.is_over:
            break
        talk.send(piece)
    await talk.until_over()
    assert talk.statuses == [400]
    assert b"\r\nConnection: close\r\n" in talk.transport.written
    assert talk.engine.seen == []
    # The bytes after it are not a request.
    talk.send(SMUGGLED)
    assert talk.statuses == [400]


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
async def test_nothing_after_a_refused_request_is_served(data: bytes) -> None:
    talk = HttpTalk()
    talk.send(got() + data + SMUGGLED)
    await talk.until_over()
    assert talk.statuses == [200, 400]
    assert [target for _, target, _ in talk.engine.seen] == ["/x"]


LIMITS = RequestLimits(headers=3, header_bytes=200, target_bytes=50)

TOO_MUCH = {
    "target": (got(line=b"GET /" + b"x" * 50 + b" HTTP/1.1"), 414),
    "target without an end": (b"GET /" + b"x" * 400, 414),
    "fields": (got(b"A: 1", b"B: 1", b"C: 1"), 431),
    "bytes of fields": (got(b"A: " + b"x" * 200), 431),
    "fields without an end": (b"GET /x HTTP/1.1\r\nA: " + b"x" * 400, 431),
    "body by its length": (posted(b"Content-Length: 11"), 413),
    "body by its chunks": (posted(CHUNKED, body=b"6\r\nhello \r\n6\r\nworld!\r\n0\r\n\r\n"), 413),
    "body by one chunk": (posted(CHUNKED, body=b"fffffff\r\n"), 413),
    "trailers": (posted(CHUNKED, body=b"0\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n"), 431),
    "bytes of trailers": (posted(CHUNKED, body=b"0\r\n" + b"A: 12345678901234567890123456789\r\n" * 9), 431),
    "another Expect": (posted(b"Expect: 200-ok", b"Content-Length: 1"), 417),
}


@pytest.mark.parametrize(("data", "status"), TOO_MUCH.values(), ids=TOO_MUCH)
async def test_a_request_over_a_limit_is_refused_before_it_is_complete(data: bytes, status: int) -> None:
    talk = HttpTalk(LIMITS, body_bytes=10)
    talk.send(data)
    await talk.until_over()
    assert (talk.statuses, talk.engine.seen) == ([status], [])


HEADS = {name: (data, 400) for name, data in REFUSED.items()} | TOO_MUCH


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize(
    ("data", "status"),
    [pytest.param(*each, id=name) for name, each in HEADS.items() if each[0].startswith(b"GET ")],
)
async def test_a_head_that_is_refused_is_answered_by_a_head_alone(
    data: bytes, status: int, is_cut: bool
) -> None:
    talk = HttpTalk(LIMITS if status != 400 else None)
    head = data.replace(b"GET ", b"HEAD ", 1)
    for piece in [head[at : at + 1] for at in range(len(head))] if is_cut else [head]:
        if talk.is_over:
            break
        talk.send(piece)
    await talk.until_over()
    assert talk.transport.written.startswith(b"HTTP/1.1 %d " % status)
    assert talk.transport.written.index(b"\r\n\r\n") == len(talk.transport.written) - 4
