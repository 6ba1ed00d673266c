"""Convert between header fields and metadata, for gRPC-Web and Connect.

Every field is metadata, except fields of HTTP, browsers, proxies and the two protocols.
"""

from collections.abc import Iterable
from typing import Final

from fastrpc._core.grpc.fields import metadata_fields, metadata_of_pairs, metadata_size
from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["Pairs", "accepts", "check_sent", "metadata_of", "sent_fields"]

#: Lower-case names with their values.
Pairs = list[tuple[bytes, bytes]]

_OF_HTTP: Final = frozenset(
    (
        b"age",
        b"allow",
        b"alt-svc",
        b"cache-control",
        b"connection",
        b"cookie",
        b"date",
        b"dnt",
        b"etag",
        b"expect",
        b"expires",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"last-modified",
        b"location",
        b"max-forwards",
        b"origin",
        b"pragma",
        b"priority",
        b"range",
        b"referer",
        b"retry-after",
        b"server",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"upgrade-insecure-requests",
        b"vary",
        b"via",
        b"www-authenticate",
        b"x-content-type-options",
        b"x-grpc-web",
        b"x-request-id",
    )
)
_BEGINS: Final = (
    b"accept",
    b"access-control-",
    b"connect-",
    b"content-",
    b"if-",
    b"proxy-",
    b"sec-",
    b"trailer-",
    b"x-forwarded-",
)


def _is_of_http(name: bytes) -> bool:
    return name in _OF_HTTP or name.startswith(_BEGINS)


def metadata_of(fields: Pairs, dropped: list[bytes]) -> bytes | None:
    """Return the metadata of a request in fastrpc's encoding. Names that it does not allow are added to `dropped`."""
    return metadata_of_pairs([field for field in fields if not _is_of_http(field[0])], dropped)


def check_sent(method: str, metadata: bytes) -> None:
    """Check the metadata of an answer.

    Raises:
        CallError: an entry cannot be sent as a header field.
    """
    try:
        metadata_size(metadata, True)
    except ValueError as error:
        raise CallError(Status.INTERNAL, f"{method}: {error}") from None
    for name, _ in sent_fields(metadata):
        if _is_of_http(name):
            raise CallError(
                Status.INTERNAL, f"{method}: the metadata key {name.decode()!r} is reserved for HTTP itself"
            )


def sent_fields(metadata: bytes | None) -> Pairs:
    """Return checked metadata as fields."""
    return [(name, value) for _, name, value in metadata_fields(metadata or b"")]


def accepts(values: Iterable[bytes], wanted: bytes) -> bool:
    """Return whether a list of encodings contains one with a weight other than 0."""
    for item in b",".join(values).split(b","):
        name, _, weight = item.strip(b" \t").lower().partition(b";")
        if name.strip(b" \t") == wanted:
            return weight.replace(b" ", b"").removeprefix(b"q=").strip(b"0.") != b"" or not weight
    return False
