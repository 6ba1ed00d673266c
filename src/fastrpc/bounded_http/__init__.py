"""HTTP requests to untrusted servers: each response is bounded in bytes and time.

Every HTTP client of the package uses this one: `client` makes requests, `line_stream` reads endless responses, and
`timed_socket` bounds both. These modules block, so they run in threads; `awaited` lets a loop await short responses. A
response is refused if it

- redirects: a request may carry a secret that is meant for one server only;
- exceeds the byte limit; headers, chunk sizes, trailers and interim responses count;
- is incomplete at its deadline, even if bytes keep arriving;
- has a content encoding, since the request accepts none.

An endless response is read line by line (`LineStream`). The limits are the length and the duration of each line, the
silence between two lines, and the bytes per second.

Proxy settings and `.netrc` are ignored.
"""

from fastrpc.bounded_http.awaited import Remaining, begin_get
from fastrpc.bounded_http.client import BoundedHttpClient, Response, decoded
from fastrpc.bounded_http.line_stream import STREAM_BYTES_PER_SECOND, LineStream
from fastrpc.bounded_http.timed_socket import (
    ANSWER_BYTES,
    ANSWER_SECONDS,
    PIECE_BYTES,
    REST_SECONDS,
    HttpError,
    TimedSocket,
    check_values,
)

__all__ = [
    "ANSWER_BYTES",
    "ANSWER_SECONDS",
    "PIECE_BYTES",
    "REST_SECONDS",
    "STREAM_BYTES_PER_SECOND",
    "BoundedHttpClient",
    "HttpError",
    "LineStream",
    "Remaining",
    "Response",
    "TimedSocket",
    "begin_get",
    "check_values",
    "decoded",
]
