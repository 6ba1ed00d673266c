from typing import Any, final

from fastrpc._core.native.call_table import CallTable

@final
class ReachedTable:
    """A table of calls, with the methods of a mapping."""

    def __init__(self) -> None: ...
    @property
    def table(self) -> CallTable:
        """The table, which holds its entries."""

    def __len__(self) -> int: ...
    def __contains__(self, id: int, /) -> bool: ...
    def __getitem__(self, id: int, /) -> Any: ...
    def __setitem__(self, id: int, entry: object, /) -> None:
        """Add an entry. Raises LocalProtocolError when the id has one: entries are never replaced."""

    def pop(self, id: int) -> Any:
        """Remove an entry and return it. Raises KeyError for an unknown id."""

    def values(self) -> list[Any]:
        """Return the entries, in no particular order."""

    def slots_searched(self, id: int) -> int:
        """Return the number of slots that the search for an id visits."""
