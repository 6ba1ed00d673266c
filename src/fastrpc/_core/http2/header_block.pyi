from typing import final

from fastrpc._core.http2.hpack_tables import HeaderField

@final
class HeaderBlock:
    """The decoded fields of one head or of trailers; equal blocks of a connection are one object."""

    note: object

    @property
    def fields(self) -> list[HeaderField]: ...
    @property
    def rule(self) -> int:
        """The number of the first rule that its fields break by themselves; 0: none."""

    @property
    def size(self) -> int:
        """Its bytes as MAX_HEADER_LIST_SIZE counts them: each field has 32 more than its name and its value."""

    @property
    def is_too_large(self) -> bool:
        """Whether it is larger than the limit; the fields behind are left out."""
