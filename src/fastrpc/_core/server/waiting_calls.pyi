from collections import OrderedDict
from collections.abc import Iterator
from typing import final

from fastrpc._core.server.served_call import ServerCall

@final
class WaitingCalls:
    """Calls that wait for their start, in the order in which they start: by priority, then by arrival."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[ServerCall]: ...
    @property
    def high(self) -> OrderedDict[ServerCall, int]:
        """Calls, each with the bytes that it holds."""

    @property
    def normal(self) -> OrderedDict[ServerCall, int]: ...
    @property
    def sheddable(self) -> OrderedDict[ServerCall, int]: ...
    @property
    def sheddable_bytes(self) -> int: ...
    @property
    def sheddable_records(self) -> int: ...
