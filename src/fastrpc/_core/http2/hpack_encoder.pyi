from collections.abc import Iterable
from typing import final

from fastrpc._core.http2.hpack_tables import DynamicTable

@final
class HeaderTemplate:
    """Fields that one encoder sends again and again; their block is copied while the table is unchanged."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None: ...
    @property
    def pairs(self) -> tuple[tuple[bytes, bytes], ...]: ...

@final
class HpackEncoder:
    """Encodes the header blocks of one direction of a connection."""

    @property
    def table(self) -> DynamicTable: ...
    def set_table_limit(self, limit: int) -> None:
        """Apply the peer's SETTINGS_HEADER_TABLE_SIZE; at most 4,096 bytes of it are used."""

    def encode_block(
        self, pairs: Iterable[tuple[bytes, bytes]], template: HeaderTemplate | None = None
    ) -> bytes:
        """Return a block of the template's fields and these, each indexed by its policy."""
