"""The records of the logger `fastrpc.access`, as a test reads them."""

import logging
from collections.abc import Iterator
from typing import Any

from tests.support.waiting import eventually

__all__ = ["ended", "kept_records"]


def kept_records() -> Iterator[list[logging.LogRecord]]:
    """Yield the list of the records, of every level: the body of a fixture."""

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    found: list[logging.LogRecord] = []
    handler = Kept()
    logger = logging.getLogger("fastrpc.access")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.setLevel(before)
    logger.removeHandler(handler)


async def ended(records: list[logging.LogRecord], count: int) -> list[Any]:
    """Return the records once there are so many: a caller may have its answer before its server writes the record."""
    await eventually(lambda: len(records) >= count)
    assert len(records) == count
    return list(records)
