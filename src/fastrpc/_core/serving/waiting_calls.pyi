from collections import OrderedDict
from collections.abc import Iterator
from typing import final

from fastrpc._core.serving.served_call import ServerCall

@final
class WaitingCalls:
    """Calls that wait for their start, in the order in which they start: by priority, then by arrival."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[ServerCall]: ...
    @property
    def high(self) -> OrderedDict[ServerCall, None]: ...
    @property
    def normal(self) -> OrderedDict[ServerCall, None]: ...
    @property
    def sheddable(self) -> OrderedDict[ServerCall, None]: ...
