from typing import Any, final

@final
class CallTable:
    """The objects that wait for the answers of a connection's calls, by call id.

    Compiled code uses `add`, `get` and `take` of the .pxd; the mapping methods are for all other code.
    Holds a reference to each entry and takes part in garbage collection.
    """

    @property
    def size(self) -> int: ...
    @property
    def multiplier(self) -> int: ...
    def __len__(self) -> int: ...
    def __contains__(self, id: int, /) -> bool: ...
    def __getitem__(self, id: int, /) -> Any: ...
    def __setitem__(self, id: int, entry: object, /) -> None:
        """Add an entry. Raises LocalProtocolError when the id has one: entries are never replaced."""

    def pop(self, id: int) -> Any:
        """Remove an entry and return it. Raises KeyError for an unknown id."""

    def values(self) -> list[Any]:
        """List the entries, in no particular order."""

    def _slots_searched(self, id: int) -> int:
        """Return the number of slots that the search for an id visits: test hook."""

    def __sizeof__(self) -> int: ...
