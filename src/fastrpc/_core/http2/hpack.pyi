from collections.abc import Iterable
from typing import final

from fastrpc._core.http2.header_block import DynamicTable

@final
class HpackDecoder:
    """The decoder of the header blocks of one direction of a connection.

    Args:
        table_limit: the most bytes of the table, as our SETTINGS_HEADER_TABLE_SIZE says.
        list_limit: the most bytes of a block, as our SETTINGS_MAX_HEADER_LIST_SIZE says.
    """

    def __init__(self, table_limit: int = 4096, list_limit: int = 8192) -> None: ...
    @property
    def table(self) -> DynamicTable: ...
    @property
    def table_limit(self) -> int: ...
    @property
    def list_limit(self) -> int: ...
    @property
    def known_bytes(self) -> int:
        """The bytes of the kept blocks, as they count for the list limit, and of their notes."""

@final
class HeaderTemplate:
    """Fields that an encoder sends repeatedly; their encoded block is copied while its table is unchanged."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None: ...
    @property
    def pairs(self) -> tuple[tuple[bytes, bytes], ...]: ...

@final
class HpackEncoder:
    """The encoder of the header blocks of one direction of a connection."""

    @property
    def table(self) -> DynamicTable: ...
