from fastrpc._core.grpc.fields import MessageReader
from fastrpc._core.grpc.grpc_call import GrpcHead
from fastrpc._core.http2.header_block import HeaderBlock
from fastrpc._core.http2.hpack import HpackEncoder

def encode_metadata_block(encoder: HpackEncoder, metadata: bytes) -> bytes:
    """Return a header block that has only native metadata."""

def read_head(block: HeaderBlock, metadata_bytes: int) -> GrpcHead:
    """Return the head of the call in a header block."""

def encode_prefix(size: int, is_compressed: bool = False) -> bytes:
    """Return the prefix of a message."""

def read_messages(reader: MessageReader, data: bytes, trusted: int = 0) -> list[tuple[bytes, bool]]:
    """Pass bytes of DATA to a reader; return each completed message, with True if it is compressed."""

def place_message(reader: MessageReader, data: bytes, most: int) -> bytes | None:
    """Give a reader the rest of a message as a socket places it, `most` bytes at a time; return the message."""

def state_of(reader: MessageReader) -> tuple[bool, int]:
    """Return whether a reader has a part of a message, and how many bytes of the message are missing."""
