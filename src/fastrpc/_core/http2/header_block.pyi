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
        """The number of the name; 0: it has none."""

    @property
    def rule(self) -> int:
        """The number of the rule that it breaks; 0: none."""

    @property
    def size(self) -> int:
        """Its bytes in a table: name, value, and 32."""

    @property
    def is_sensitive(self) -> bool:
        """Whether it must never be put into a table, not even by an intermediary."""

    @property
    def is_pseudo(self) -> bool: ...
    @property
    def is_binary(self) -> bool:
        """Whether its name ends with `-bin`."""

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
        """A number that changes with each change of the table, and that no other table has."""

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
    def has_blanks(self) -> bool:
        """Whether a value begins or ends with a blank, which messages of gRPC alone may have."""

    @property
    def size(self) -> int:
        """Its bytes as MAX_HEADER_LIST_SIZE counts them: each field has 32 more than its name and its value."""

    @property
    def is_too_large(self) -> bool:
        """Whether it is larger than the limit; the fields beyond the limit are left out."""
