from collections.abc import Iterable

from fastrpc._core.http2.header_block import DynamicTable, HeaderBlock
from fastrpc._core.http2.hpack import HeaderTemplate, HpackDecoder, HpackEncoder

class Http2ViolationError(Exception):
    """The peer broke a rule of HTTP/2: its number, its error code, whether the connection ends, its text."""

    def __init__(self, rule: int, text: str) -> None:
        self.rule: int
        self.code: int
        self.is_of_connection: bool

def violation_rows() -> dict[int, tuple[bool, int, str]]:
    """Return by the number of each rule: whether its violation ends the connection, the error code, the text."""

def encode_huffman(data: bytes) -> bytes:
    """Return the Huffman code of bytes, padded to whole bytes."""

def decode_huffman(data: bytes) -> bytes | None:
    """Decode a Huffman code; return None if its padding is wrong or it contains EOS."""

def token_name(token: int) -> bytes | None:
    """Return the field name of a token; None for token 0."""

def name_token(name: bytes) -> int:
    """Return the token of a field name; 0 if it has none."""

def field_rule(name: bytes, value: bytes) -> int:
    """Return the number of the rule that a field breaks; 0 if it breaks none."""

def table_fields(table: DynamicTable) -> list[tuple[bytes, bytes]]:
    """Return the fields of a table, newest first."""

def add_field(table: DynamicTable, name: bytes, value: bytes) -> None:
    """Insert a field; the oldest fields are removed until there is room."""

def set_capacity(table: DynamicTable, capacity: int) -> None:
    """Change the size limit of a table; the oldest fields are removed until the rest fits."""

def note_of(block: HeaderBlock, index: int, note: object = None) -> object:
    """Return the note of a field of a block; if `note` is not None, set it before."""

def pairs_of(block: HeaderBlock) -> list[tuple[bytes, bytes]]:
    """Return the names and values of a block in their order."""

def value_of(block: HeaderBlock, token: int) -> bytes | None:
    """Return the value of the first field with a token, or None."""

def length_of(block: HeaderBlock) -> int:
    """Return the value of content-length, or -1 without one. The block must break no rule."""

def broken_rule(block: HeaderBlock, kind: str) -> int:
    """Return the number of the rule that a block breaks as "request", "response" or "trailers"; 0 for none."""

def twin_of(block: HeaderBlock) -> HeaderBlock | None:
    """Return the known block that differs from this block only in its timeout, or None."""

def decode_block(decoder: HpackDecoder, data: bytes) -> HeaderBlock:
    """Decode a whole block, or raise Http2ViolationError."""

def limit_decoder(decoder: HpackDecoder, limit: int) -> None:
    """Apply a table limit that the peer has acknowledged."""

def encode_block(
    encoder: HpackEncoder, pairs: Iterable[tuple[bytes, bytes]], template: HeaderTemplate | None = None
) -> bytes:
    """Return a block with the fields of the template and further fields, each indexed by its policy."""

def limit_encoder(encoder: HpackEncoder, limit: int) -> None:
    """Apply the peer's SETTINGS_HEADER_TABLE_SIZE."""

def decode_again(decoder: HpackDecoder, data: bytes, times: int) -> float:
    """Return the average time of decoding a block, in nanoseconds."""

def encode_again(encoder: HpackEncoder, template: HeaderTemplate, timeout: bytes, times: int) -> float:
    """Return the average time of encoding a template and grpc-timeout, in nanoseconds."""
