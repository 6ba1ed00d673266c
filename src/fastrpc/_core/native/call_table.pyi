from typing import final

@final
class CallTable:
    """The objects that wait for the answers of a connection's calls, by call id.

    Holds a reference to each entry and takes part in garbage collection.
    """

    @property
    def size(self) -> int: ...
    @property
    def multiplier(self) -> int: ...
    def __sizeof__(self) -> int: ...
