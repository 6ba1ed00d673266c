"""Both versions of HTTP by one interface, for tests that compare them."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastrpc import Address
from tests.support.http2_client import Http2Client, http2_client
from tests.support.http_talk import HttpClient, Response

__all__ = ["VERSIONS", "compared", "http_client"]

VERSIONS = ("1.1", "2")

#: Fields of HTTP/1.1 about a connection, which HTTP/2 forbids (RFC 9113, section 8.2.2), and the time.
_NOT_COMPARED = frozenset({"connection", "date", "keep-alive", "transfer-encoding"})


@asynccontextmanager
async def http_client(
    version: str, address: Address | str, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpClient | Http2Client]:
    """Connect to a server by a version of HTTP; `tls` names it by ALPN."""
    if version == "2":
        async with http2_client(address, tls=tls) as client:
            yield client
    else:
        options = {} if tls is None else {"ssl": tls, "server_hostname": "localhost"}
        async with await HttpClient.to(address, **options) as client:
            yield client


def compared(answer: Response, *others: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return the parts that are equal in every version of HTTP: status, fields except some, and content."""
    fields = [(name, value) for name, value in answer.fields if name not in _NOT_COMPARED.union(others)]
    return answer.status, sorted(fields), answer.body
