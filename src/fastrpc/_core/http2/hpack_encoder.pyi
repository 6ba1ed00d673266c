from collections.abc import Iterable
from typing import final

from fastrpc._core.http2.hpack_tables import DynamicTable

@final
class HeaderTemplate:
    """Fields that an encoder sends again and again; their block is copied while its table is unchanged."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None: ...
    @property
    def pairs(self) -> tuple[tuple[bytes, bytes], ...]: ...

@final
class HpackEncoder:
    """Encodes the header blocks of one direction of a connection."""

    @property
    def table(self) -> DynamicTable: ...
