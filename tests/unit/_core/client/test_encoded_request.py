"""Long arguments of a call with several attempts: each attempt compresses them in slices and sends them whole."""

import random
from typing import Any

import pytest

from fastrpc import CallError, Client, Status, method, service
from fastrpc.compressors.base import compressor_named
from tests.support.served import served

pytestmark = pytest.mark.one_loop

#: Compressed in slices.
LONG = random.Random(1).randbytes(600_000).hex()


@service("busy")
class Busy:
    def __init__(self) -> None:
        self.refusals = 0

    @method(idempotent=True)
    async def size(self, text: str) -> int:
        if self.refusals < 2:
            self.refusals += 1
            raise CallError(Status.UNAVAILABLE, "not yet", retry_after=0.001)
        return len(text)


async def test_each_attempt_sends_the_long_arguments_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    gzip: Any = type(compressor_named("gzip"))
    begun: list[int] = []
    compress_pieces = gzip.compress_pieces

    def counted(self: Any, *arguments: Any) -> Any:
        begun.append(1)
        return compress_pieces(self, *arguments)

    monkeypatch.setattr(gzip, "compress_pieces", counted)
    busy = Busy()
    async with served(busy) as target, Client(target) as client:
        assert await client.with_options(compressor="gzip").call(Busy.size, LONG) == len(LONG)
    assert (busy.refusals, len(begun)) == (2, 3)
