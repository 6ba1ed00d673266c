"""The two methods of the HTTP workloads in django-bolt, with a struct of msgspec as the record."""

from typing import Any

import msgspec
from django_bolt import JSON, BoltAPI

from bench.compare.http_load import HELLO, HELLO_PATH, RECORD_PATH

__all__ = ["api"]


class Record(msgspec.Struct):
    """The typed record of the workloads."""

    id: int
    name: str
    score: float
    tags: list[str]


async def _record(record: Record) -> Record:
    return record


# Neither a type, which would be validated, nor `str`, which would be plain text.
async def _hello() -> Any:
    return JSON(HELLO)


#: Found by `runbolt` under the name in the settings.
api = BoltAPI(enable_logging=False)
api.post(RECORD_PATH)(_record)
api.get(HELLO_PATH)(_hello)
