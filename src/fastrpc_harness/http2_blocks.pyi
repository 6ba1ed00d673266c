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
    """Return, by the number of each rule: whether the connection ends, the error code, and the text."""

def encode_huffman(data: bytes) -> bytes:
    """Return the Huffman code of these bytes, padded to whole bytes."""

def decode_huffman(data: bytes) -> bytes | None:
    """Return the bytes that a Huffman code stands for; None if its padding is wrong or EOS is in it."""

def token_name(token: int) -> bytes | None:
    """Return the name that a token stands for, None for 0."""

def name_token(name: bytes) -> int:
    """Return the token of a name, 0: it has none."""

def field_rule(name: bytes, value: bytes) -> int:
    """Return the number of the rule that a field breaks; 0: none."""

def table_fields(table: DynamicTable) -> list[tuple[bytes, bytes]]:
    """Return the fields of a table, newest first."""

def add_field(table: DynamicTable, name: bytes, value: bytes) -> None:
    """Insert a field; older ones leave until there is room."""

def set_capacity(table: DynamicTable, capacity: int) -> None:
    """Change the most bytes of a table; older fields leave until the rest fits."""

def note_of(block: HeaderBlock, index: int, note: object = None) -> object:
    """Return the note of a field of a block; keep this one with it first, unless it is None."""

def pairs_of(block: HeaderBlock) -> list[tuple[bytes, bytes]]:
    """Return names and values of a block in order."""

def value_of(block: HeaderBlock, token: int) -> bytes | None:
    """Return the value of the first field with a token, or None."""

def length_of(block: HeaderBlock) -> int:
    """Return the value of content-length, -1 without one; for a block that breaks no rule."""

def broken_rule(block: HeaderBlock, kind: str) -> int:
    """Return the number of the rule that this "request", "response" or "trailers" breaks; 0: none."""

def twin_of(block: HeaderBlock) -> HeaderBlock | None:
    """Return the block that differs from this one in its timeout alone, or None."""

def decode_block(decoder: HpackDecoder, data: bytes) -> HeaderBlock:
    """Decode a whole block, or raise Http2ViolationError."""

def limit_decoder(decoder: HpackDecoder, limit: int) -> None:
    """Apply a table limit that the peer has acknowledged."""

def encode_block(
    encoder: HpackEncoder, pairs: Iterable[tuple[bytes, bytes]], template: HeaderTemplate | None = None
) -> bytes:
    """Return a block of the template's fields and these, each indexed by its policy."""

def limit_encoder(encoder: HpackEncoder, limit: int) -> None:
    """Apply the peer's SETTINGS_HEADER_TABLE_SIZE."""

def decode_again(decoder: HpackDecoder, data: bytes, times: int) -> float:
    """Return the nanoseconds that decoding a block takes, on average."""

def encode_again(encoder: HpackEncoder, template: HeaderTemplate, timeout: bytes, times: int) -> float:
    """Return the nanoseconds that encoding a template and grpc-timeout takes, on average."""
