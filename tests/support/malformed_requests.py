"""Requests that a server refuses, made from the rules of RFC 9110 and RFC 9112 for each field, byte and order.

Their path is `/x` and their Host `127.0.0.1`. Each is refused as soon as it is complete, with any bytes after it.
"""

import functools
import itertools
from collections.abc import Iterator

__all__ = ["TYPE", "got", "malformed", "posted"]

HOST = b"Host: 127.0.0.1"
TYPE = b"Content-Type: application/json"
CHUNKED = b"Transfer-Encoding: chunked"

TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
ASCII = [bytes((number,)) for number in range(128)]
#: Bytes that are no ASCII: the white space and the end of a line of other charsets among them.
BEYOND = [b"\x80", b"\x85", b"\xa0", b"\xff"]
CONTROLS = [byte for byte in ASCII if (byte < b" " and byte != b"\t") or byte == b"\x7f"]
#: The bytes that end no token: a colon ends the name of a field, and a space the name of a method.
NOT_TOKEN = [byte for byte in ASCII if byte not in TOKEN] + BEYOND


def got(*fields: bytes, line: bytes = b"GET /x HTTP/1.1", host: bytes = HOST) -> bytes:
    """Return a request without a body."""
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])


def posted(*fields: bytes, body: bytes = b"", version: bytes = b"1.1", host: bytes = HOST) -> bytes:
    """Return a request with a body."""
    return got(TYPE, *fields, line=b"POST /x HTTP/" + version, host=host) + body


@functools.cache
def malformed() -> list[bytes]:
    """Return all of them, each once."""
    parts = (
        lengths(),
        codings(),
        framings(),
        fields(),
        bytes_of_heads(),
        hosts(),
        lines(),
        line_ends(),
        chunks(),
        trailers(),
    )
    return list(dict.fromkeys(itertools.chain(*parts)))


# The length of a body


#: Among the last ones are digits of other scripts.
LENGTHS = [
    *b"+5 -5 -0 --5 5- 0+5 0x5 0b101 0o5 x5 5h 5L 1_0 5.0 5. .5 5e0 1e400 inf nan five '5' (5) , 5,".split(),
    *b",5 5,5 5;x 5/5 5=5 5:5 %35 1111111111111111111 0000000000000000005 99999999999999999999".split(),
    *b"18446744073709551621 42949673014294967301 -1 chunked".split(),
    *(b"1 0", b"5\t5", b"5 5", b'"5"', b"", b"5, 5", b"5, 6", b"5 ;", b"\\5", b"\xb2", b"\xa05"),
    *(b"5\xa0", b"\xd9\xa5", b"\xef\xbc\x95", b"\xe0\xa5\xab", b"5\x0b", b"\x0c5", b"5\x00"),
]

CODINGS = [
    *b"identity gzip deflate compress br x-gzip trailers cow 0 5 * xchunked chunkedx chunke chunk".split(),
    *b"chun-ked chunked. -chunked chunked, ,chunked chunked,, chunked,chunked chunked;q=1 chunked;".split(),
    *b"'chunked' (chunked) %63hunked chunked=1 chunked: chunked/1".split(),
    *(b"", b"c hunked", b"chunked chunked", b"chunked, chunked", b"chunked, identity"),
    *(b"identity, chunked", b"gzip, chunked", b"chunked, gzip", b"cow, chunked", b"chunked, cow"),
    *(b"chunked ;", b"chunked; a=b", b'"chunked"', b"chunked\tgzip", b"\x0bchunked", b"chunked\x0b"),
    *(b"\x0cchunked", b"\xa0chunked", b"chunked\xa0", b"\x85chunked", b"chunked\x00", b"chun\xcced"),
    *(b"\xef\xbd\x83hunked", b"chun\xd0\x9aed"),
]

#: Each states how long the body is: two of them in one request are a conflict.
FRAMINGS = [
    *(
        b"Content-Length: 5",
        b"content-length: 5",
        b"CONTENT-LENGTH:5",
        b"Content-Length:\t6 ",
        b"Content-Length: 0",
    ),
    *(CHUNKED, b"transfer-encoding: Chunked", b"TRANSFER-ENCODING:gzip", b"Transfer-Encoding: identity"),
]


def lengths() -> Iterator[bytes]:
    for value, name in itertools.product(LENGTHS, (b"Content-Length: ", b"content-length:")):
        yield posted(name + value, body=b"hello")


def codings() -> Iterator[bytes]:
    for value, name in itertools.product(CODINGS, (b"Transfer-Encoding: ", b"transfer-encoding:")):
        yield posted(name + value, body=b"0\r\n\r\n")
    for value in (b"chunked", b"Chunked", b"identity", b"gzip, chunked"):
        yield posted(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n", version=b"1.0")


def framings() -> Iterator[bytes]:
    for first, second in itertools.product(FRAMINGS, repeat=2):
        yield posted(first, second, body=b"0\r\n\r\n")
        yield posted(first, b"X: 1", second, body=b"0\r\n\r\n")
        yield posted(first, second, body=b"0\r\n\r\n", version=b"1.0")
    for first in FRAMINGS:
        yield posted(first, CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n")
    for value in (
        b"200-ok",
        b"",
        b"100",
        b"100-continue, x",
        b"100-continue;q=1",
        b"100-continued",
        b"continue",
    ):
        yield posted(b"Expect: " + value, b"Content-Length: 5", body=b"hello")
    yield posted(b"Expect: 100-continue", b"Expect: 100-continue", b"Content-Length: 5", body=b"hello")


# Fields


#: Fields that are wrong, by their name and their value.
FAULTS = [
    *b"%b=%b %b;%b".split(),
    *(b"%b : %b", b"%b\t: %b", b"%b\x0b: %b", b"%b\x00: %b", b"%b\xa0: %b", b"%b\r: %b", b"%b %b"),
    *(b"%b\xef\xbc\x9a %b", b" %b: %b", b"\t%b: %b", b"\x0b%b: %b", b"\x00%b: %b", b'"%b": %b'),
    *(b"(%b): %b", b":%b: %b", b"\xef\xbb\xbf%b: %b", b"%b:\r\n %b", b"%b:\r\n\t%b", b"%b: %b\r\n "),
    *(b"%b: %b\r\n\t", b"%b: %b\r", b"%b:\r%b", b"%b: %b\nX: 1", b"%b:\n%b", b"%b: \x00%b"),
    *(b"%b: %b\x00", b"%b: \x0c%b", b"%b: %b\x7f", b"%b: %b\x1b"),
]

NAMED = [
    *((b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked"), (b"Connection", b"close")),
    *((b"Upgrade", b"websocket"), (b"X-Other", b"1")),
]


def fields() -> Iterator[bytes]:
    for fault, field in itertools.product(FAULTS, NAMED):
        yield posted(fault % field, body=b"hello")
    for fault in FAULTS:
        # The first field, and the only Host.
        yield got(host=fault % (b"Host", b"127.0.0.1"))
        # The last one comes after the framing.
        yield posted(b"Content-Length: 5", fault % (b"X-Last", b"1"), body=b"hello")


def bytes_of_heads() -> Iterator[bytes]:
    for byte in NOT_TOKEN:
        if byte != b":":
            yield got(b"X" + byte + b"Y: 1")
        yield got(line=b"GE" + byte + b"T /x HTTP/1.1")
    for byte in CONTROLS:
        yield got(b"X: 1" + byte + b"2")
    for byte in (*CONTROLS, b" ", b"\t", b"#", *BEYOND):
        yield got(line=b"GET /x" + byte + b"y HTTP/1.1")


# Host


HOSTS = [
    *b"127.0.0.1,127.0.0.1 127.0.0.1;a 127.0.0.1/ 127.0.0.1/a http://127.0.0.1 //127.0.0.1".split(),
    *b"@127.0.0.1 a@127.0.0.1 a:b@127.0.0.1 127.0.0.1@a 127.0.0.1#a 127.0.0.1?a <127.0.0.1>".split(),
    *b"127.0.0.1: 127.0.0.1:65536 127.0.0.1:99999 127.0.0.1:123456 127.0.0.1:-1 127.0.0.1:+80".split(),
    *b"127.0.0.1:8O 127.0.0.1:80a 127.0.0.1:80:80 127.0.0.1::80 127.0.0.1:0x50 127.0.0.1:80.0 :80 :".split(),
    *b"::1 [::1 ::1] [] [:] [[::1]] [::1]] [::1]a [::1]80 [::1]: [::1]:a [::1]:65536 [::g] [v1.a]".split(),
    *b"[::1%25a] [localhost] a[b] a^b a`b a|b a{b} a(b) a=b a,b a<b".split(),
    *(b"", b"127.0.0.1, a", b"127.0.0.1 a", b"127.0.0.1\\a", b'"127.0.0.1"', b"127.0.0.1\ta"),
    *(b"127.0.0.1\xa0", b"127.0.0.1\x00", b"127.0.0.1: 80", b"127.0.0.1 :80", b"\xc3\xa4"),
    *(b"127\xe3\x80\x820\xe3\x80\x820\xe3\x80\x821",),
]

TWO_HOSTS = [HOST, b"host: 127.0.0.1", b"HOST:evil.example", b"Host:"]


def hosts() -> Iterator[bytes]:
    for host in HOSTS:
        yield got(host=b"Host: " + host)
        yield got(host=b"Host: " + host, line=b"GET /x HTTP/1.0")
    for first, second in itertools.product(TWO_HOSTS, repeat=2):
        yield got(second, host=first)
        yield got(b"X: 1", second, host=first)
        yield got(second, host=first, line=b"GET /x HTTP/1.0")
    yield got(host=b"")
    yield posted(b"Content-Length: 5", host=b"", body=b"hello")


# The request line


VERSIONS = [
    *b"HTTP/0.9 HTTP/1.2 HTTP/1.9 HTTP/2.0 HTTP/3.0 HTTP/9.9 HTTP/1 HTTP/2 HTTP/1. HTTP/.1".split(),
    *b"HTTP/1.10 HTTP/1.01 HTTP/01.1 HTTP/11.1 HTTP/1.1.1 HTTP/-1.1 HTTP/+1.1 HTTP/1,1 HTTP/1.x".split(),
    *b"HTTP/x.1 http/1.1 Http/1.1 HTTPS/1.1 HTTP1.1 HTTP//1.1 HTTP-1.1 ICY/1.1 RTSP/1.0 SIP/2.0".split(),
    *b"HTTP HTTP/ 1.1 HTTP/1.1;".split(),
    *(b"HTTP/1.\xb9", b"HTTP 1.1", b"HTTP/ 1.1", b"HTTP/1 .1", b"HTTP /1.1", b"HTTP\\1.1", b""),
    *(b"HTTP/1.1 ", b"HTTP/1.1\t", b"HTTP/1.1 X", b"HTTP/1.1 HTTP/1.1", b" HTTP/1.1", b"\tHTTP/1.1"),
    *(b"HTTP/1.1\r", b"HTTP/1.1\x00", b"HTTP/1.1\x0b"),
]

TARGETS = [
    *b"http://evil.example/x http://127.0.0.1.evil.example/x http://127.0.0.1:81/x".split(),
    *b"http://127.0.0.1:/x http://a@127.0.0.1/x http://127.0.0.1@evil.example/x".split(),
    *b"http://127.0.0.1%00/x http://[::1]/x http:///x http:// http://?x https://evil.example/x".split(),
    *b"ftp://127.0.0.1/x ws://127.0.0.1/x file:///x http:/x http:x httpx://127.0.0.1/x".split(),
    *b"://127.0.0.1/x 127.0.0.1 127.0.0.1:80 evil.example:443 * ** */x ?x x ./x ../x %2Fx".split(),
    *b"mailto:a@example.com javascript:x urn:a:b data:,x . .. ~ : & @ - /x# /x#y # #/x".split(),
    *(b"http://127.0.0.1\\@evil.example/x", b"\\x", b"/x /x", b" /x", b"\t/x", b"/x\t", b"/x\r"),
    *(b"\xc3\xa4", b"/x\xc3\xa4", b'" /x"'),
]

METHODS = [
    *b"GET: GET/ GET, (GET) [GET]".split(),
    *(b"", b" GET", b"\tGET", b"GET ", b"GET\t", b'"GET"', b"G" * 33),
]

FIRST = [
    *(b"\r\n\r\n", b"\n", b"\n\n", b"\r", b"\r\r\n", b" ", b"\t", b"\r\n ", b"\r\n\n", b"\x00"),
    *(b"\xef\xbb\xbf", b"\xa0", b"\x1b"),
]


def lines() -> Iterator[bytes]:
    for version in VERSIONS:
        yield got(line=b"GET /x " + version)
    for target in TARGETS:
        yield got(line=b"GET " + target + b" HTTP/1.1")
        yield got(TYPE, b"Content-Length: 0", line=b"POST " + target + b" HTTP/1.1")
    for target in (b"127.0.0.1:443", b"evil.example:443", b"http://127.0.0.1/", b"*", b"x"):
        yield got(line=b"CONNECT " + target + b" HTTP/1.1")
    for method in METHODS:
        yield got(line=method + b" /x HTTP/1.1")
    for first in FIRST:
        yield first + got()
    for line in (
        b"GET",
        b"GET ",
        b"GET /x",
        b"GET  HTTP/1.1",
        b"/x HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"PRI * HTTP/2.0",
    ):
        yield got(line=line)
    # Absolute targets name the host themselves, and yet need the field.
    yield got(line=b"GET http://127.0.0.1/x HTTP/1.1", host=b"")


def line_ends() -> Iterator[bytes]:
    """Yield requests, one line of which has another line end."""
    for whole in (
        got(b"X: 1"),
        posted(b"Content-Length: 5", body=b"hello"),
        posted(CHUNKED, body=b"0\r\n\r\n"),
    ):
        head, _, body = whole.partition(b"\r\n\r\n")
        count = head.count(b"\r\n") + 2
        for at, end in itertools.product(
            range(count), (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\x00\r\n", b"\x0b\r\n")
        ):
            ends = [end if at == number else b"\r\n" for number in range(count)]
            yield b"".join(itertools.chain(*zip([*head.split(b"\r\n"), b""], ends, strict=True))) + body


# Chunks


SIZES = [
    *b"+5 -5 -0 +0 0x5 0x0 x5 5h 5_0 g 5g G ;5 ; 5, 5. 5.0 5:a 5=a 5#a 5/a '5' (5) five %35 $5".split(),
    *b"FFFFFFFFFFFFFFFF fffffffffffffffff 10000000000000000 0000000000000005 8000000000000005".split(),
    *(b"10000000000000005", b"5;" + b"a" * 127),
    *(b"", b" 5", b"5 ", b"\t5", b"5\t", b" 0", b"0 ", b"5 ;a", b"5\t;a", b'"5"', b"5\x00", b"\x005"),
    *(b"5\x0b", b"5\xa0", b"\xef\xbc\x95", b"\xd9\xa5", b"\xb2", b"5\r", b"5\n"),
]

#: Bytes after the five of a chunk, in place of CRLF.
CHUNK_ENDS = [
    *(b"", b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"x\r\n", b"\x00\r\n", b"\t\r\n", b"\r\n\r\n"),
    *(b"\r\n ", b"hello\r\n"),
]


def chunks() -> Iterator[bytes]:
    for size in SIZES:
        yield posted(CHUNKED, body=size + b"\r\nhello\r\n0\r\n\r\n")
        # Behind a chunk that has no fault.
        yield posted(CHUNKED, body=b"5\r\nhello\r\n" + size + b"\r\nhello\r\n0\r\n\r\n")
    for end in CHUNK_ENDS:
        yield posted(CHUNKED, body=b"5\r\nhello" + end + b"0\r\n\r\n")
    for size in (b"4", b"6", b"7", b"8", b"00004", b"4;a=b"):
        yield posted(CHUNKED, body=size + b"\r\nhello\r\n0\r\n\r\n")
    for byte in (*CONTROLS, *BEYOND):
        yield posted(CHUNKED, body=b"5;a" + byte + b"b\r\nhello\r\n0\r\n\r\n")
    for line in (b"5\n", b"5\r", b"5\n\r", b"5\r\r\n", b"5;a\n", b"5;a=\r\r\n"):
        yield posted(CHUNKED, body=line + b"hello\r\n0\r\n\r\n")
    for last in (
        b"0\n\r\n",
        b"0\r\r\n\r\n",
        b"0\n\n",
        b"0\r\n\n",
        b"0\r\n\r\r\n",
        b"0\r\n\n\r\n",
        b"0\x00\r\n\r\n",
        b"0;\n\r\n",
    ):
        yield posted(CHUNKED, body=last)


def trailers() -> Iterator[bytes]:
    for fault, field in itertools.product(FAULTS, (*NAMED[:2], NAMED[-1])):
        yield posted(CHUNKED, body=b"5\r\nhello\r\n0\r\n" + fault % field + b"\r\n\r\n")
    for byte in CONTROLS:
        yield posted(CHUNKED, body=b"0\r\nX: 1" + byte + b"2\r\n\r\n")
