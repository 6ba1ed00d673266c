import logging
from collections import deque
from collections.abc import Callable
from typing import Any, final

from fastrpc._core.calls.call import Call

@final
class CallLog:
    """Gets the end of each call, and lets a function write the records of the chosen ones.

    Args:
        write: writes a record, `write(call, status, nanoseconds)`.
        sample: the share of the calls that are written, 0 to 1.
        slow_seconds: calls of this length or longer are always written; None: the length does not matter.
    """

    def __init__(
        self, write: Callable[[Call, int, int], None], sample: float, slow_seconds: float | None
    ) -> None: ...
    @property
    def write(self) -> Callable[[Call, int, int], None]: ...
    #: Another log that gets the end of each call, or None.
    beside: CallLog | None
    #: Whether the request of each call gets an id, which calls made inside carry on.
    makes_ids: bool
    def note_end(self, call: Call, status: int) -> None:
        """Log a call that ends now, if it is chosen."""

def request_id_of(call: Call) -> str:
    """Return the id of a call's request; it is made on first use."""

@final
class AccessRecords:
    """Writes the records of ended calls to a logger.

    Args:
        logger: the logger of the records.
        level: the level of the records.
        source: the file that the records name.
    """

    def __init__(self, logger: logging.Logger, level: int, source: str) -> None: ...
    def write(self, call: Call, status: int, nanoseconds: int) -> None:
        """Write the record of a call that ended with this status after this number of nanoseconds."""

FIELDS_OF_ENDED: tuple[str, ...]
ERROR_ID: str

@final
class EndedCalls:
    """A ring of the last logged calls and their known values.

    Args:
        most: calls that are kept.
    """

    def __init__(self, most: int) -> None: ...
    @property
    def calls(self) -> deque[tuple[Any, ...]]:
        """The calls, the oldest first: values of `FIELDS_OF_ENDED`."""

    def write(self, call: Call, status: int, nanoseconds: int) -> None:
        """Keep a call that ended with a status after this time, and drop the oldest call."""
