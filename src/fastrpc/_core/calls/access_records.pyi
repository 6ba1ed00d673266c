import logging
from typing import final

from fastrpc._core.calls.call import Call

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
        """Write the record of a call that ended with a status after so many nanoseconds."""
