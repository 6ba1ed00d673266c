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

    @property
    def pairs(self) -> list[tuple[bytes, bytes]]:
        """Names and values in order."""

    @property
    def length(self) -> int:
        """The value of content-length, -1 without one; for a block that breaks no rule."""

    def value(self, token: int) -> bytes | None:
        """Return the value of the first field with a token, or None."""

    def broken_rule(self, kind: str) -> int:
        """Return the number of the rule that this "request", "response" or "trailers" breaks; 0: none."""
