from fastrpc._core.grpc.fields import MessageReader
from fastrpc._core.grpc.grpc_call import GrpcHead
from fastrpc._core.http2.header_block import HeaderBlock
from fastrpc._core.http2.hpack import HpackEncoder

def encode_metadata_block(encoder: HpackEncoder, metadata: bytes) -> bytes:
    """Return a header block of native metadata alone."""

def read_head(block: HeaderBlock, metadata_bytes: int) -> GrpcHead:
    """Return the head of a call that a block stands for."""

def encode_prefix(size: int, is_compressed: bool = False) -> bytes:
    """Return the prefix of a message."""

def read_messages(reader: MessageReader, data: bytes, trusted: int = 0) -> list[tuple[bytes, bool]]:
    """Give a reader bytes of DATA; return the messages that they complete, each with whether it is compressed."""

def place_message(reader: MessageReader, data: bytes, most: int) -> bytes | None:
    """Give a reader the rest of a message as a socket places it, `most` bytes at a time; return the message."""

def state_of(reader: MessageReader) -> tuple[bool, int]:
    """Return whether a reader is inside a message, and the bytes that it lacks."""
