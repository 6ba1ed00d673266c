"""Metadata in gRPC's form: pairs of keys and values, in which keys may repeat."""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from fastrpc._core.calls.call import Call
from fastrpc._core.grpc.fields import metadata_size
from fastrpc._core.payload.metadata import encode_pairs, metadata_pairs

__all__ = [
    "DETAILS_KEY",
    "INVALID_METADATA",
    "Pair",
    "Pairs",
    "block_of",
    "pairs_in",
    "pairs_of",
    "received_pairs",
]


#: The trailing metadata with the details of an error: programs of grpcio-status set and read it.
DETAILS_KEY = "grpc-status-details-bin"

#: The text of grpcio for metadata that cannot be sent.
INVALID_METADATA = "Invalid metadata"


class Pair(NamedTuple):
    """One entry: bytes under a key that ends in `-bin`, else text."""

    key: str
    value: str | bytes


Pairs: TypeAlias = tuple[Pair, ...]


def pairs_of(metadata: Any) -> Pairs:
    """Return the pairs of metadata in any form that grpcio takes: pairs, a mapping, `grpc.aio.Metadata` or None.

    Text under a key that ends in `-bin` becomes bytes, and bytes under any other key become text, as grpcio sends them.
    A key in bytes becomes text.

    Raises:
        TypeError: a key is not text, or a value is neither text nor bytes.
    """
    if not metadata:
        return ()
    entries: Iterable[tuple[str | bytes, str | bytes]] = (
        metadata.items() if isinstance(metadata, dict) else metadata
    )
    return tuple(Pair(*_fitting(key, value)) for key, value in entries)


def block_of(pairs: Iterable[Pair]) -> bytes:
    """Return metadata encoded for gRPC.

    Raises:
        ValueError: gRPC cannot send a key or a value.
    """
    block = encode_pairs(pairs)
    metadata_size(block)
    return block


def pairs_in(block: bytes) -> Pairs:
    """Return the pairs in received metadata, which is encoded."""
    return tuple(Pair(*pair) for pair in metadata_pairs(block)) if block else ()


def received_pairs(call: Call) -> Pairs:
    """Return the received metadata of a call as pairs."""
    return pairs_in(call._received_block)


def _fitting(key: str | bytes, value: str | bytes) -> tuple[str, str | bytes]:
    if isinstance(key, bytes):
        key = key.decode("utf-8", "surrogateescape")
    if not (isinstance(key, str) and isinstance(value, str | bytes)):
        raise TypeError(f"metadata keys must be text and values text or bytes, not {key!r}: {value!r}")
    if key.endswith("-bin"):
        return key, value.encode() if isinstance(value, str) else value
    return key, value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
