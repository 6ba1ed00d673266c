from typing import final

@final
class HeaderField:
    """A field of a header block: name and value, checked by the rules of RFC 9113, section 8.2."""

    @property
    def name(self) -> bytes: ...
    @property
    def value(self) -> bytes: ...
    @property
    def token(self) -> int:
        """The token of the name, 0 if it has none."""

    @property
    def rule(self) -> int:
        """The number of the rule that the field breaks; 0: none."""

    @property
    def size(self) -> int:
        """The bytes of the field in a table: name, value, and 32."""

    @property
    def is_sensitive(self) -> bool:
        """Whether the field must never be put into a table, not even by a proxy."""

    @property
    def is_pseudo(self) -> bool: ...
    @property
    def is_binary(self) -> bool:
        """Whether the name ends in `-bin`."""

@final
class DynamicTable:
    """The dynamic table of one direction of a connection, newest field first.

    Args:
        capacity: the most bytes of its fields.
    """

    def __init__(self, capacity: int = 4096) -> None: ...
    @property
    def count(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def generation(self) -> int:
        """A number that is new after each change of the table, and unique among all tables."""

@final
class HeaderBlock:
    """The decoded fields of one head or of trailers. Equal blocks of a connection are the same object."""

    note: object

    @property
    def fields(self) -> list[HeaderField]: ...
    @property
    def rule(self) -> int:
        """The number of the first rule that the fields break, whatever the kind of the block; 0: none."""

    @property
    def has_blanks(self) -> bool:
        """Whether a value begins or ends with a blank, which only gRPC messages may have."""

    @property
    def size(self) -> int:
        """The bytes of the block as MAX_HEADER_LIST_SIZE counts them: name, value, and 32 for each field."""

    @property
    def is_too_large(self) -> bool:
        """Whether the block is larger than the limit, so that the fields beyond it are omitted."""
