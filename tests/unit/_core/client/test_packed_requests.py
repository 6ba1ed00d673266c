"""The payload of a request: which ones are compressed, by either client and for every form of call."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from fastrpc import EncodeError, method, service
from fastrpc._core.base.histogram import default_registry
from fastrpc.compressors.base import compressor_named
from tests.support.either_client import CLIENTS, either

both = pytest.mark.parametrize("kind", CLIENTS)

# Above 1,024 bytes calls are compressed; the arguments of a stream are so in any case.
LONG, SHORT = "a" * 50_000, "b" * 900


@service("texts")
class Texts:
    @method
    async def size(self, text: str) -> int:
        return len(text)

    @method
    async def letters(self, text: str) -> AsyncIterator[str]:
        yield text[0]


async def once(client: Any, text: str) -> Any:
    return await client.call(Texts.size, text)


async def twice(client: Any, text: str) -> Any:
    first, second = await client.call_many(Texts.size, [(text,), (text,)])
    assert first == second
    return first


async def streamed(client: Any, text: str) -> Any:
    async with client.stream(Texts.letters, text) as letters:
        return [letter async for letter in letters]


def bytes_of_clients() -> int:
    """Return the bytes of all payloads that clients have sent and received."""
    return sum(one.sent_bytes + one.received_bytes for one in default_registry if one.side == "client")


async def moved(kind: str, use: Callable[[Any, str], Awaitable[Any]], text: str, **options: Any) -> int:
    """Return the bytes of the payloads of a call, in both directions."""
    before = bytes_of_clients()
    async with either(kind, Texts()) as client:
        await use(client.with_options(**options), text)
    return bytes_of_clients() - before


@both
@pytest.mark.parametrize("use", [once, twice])
async def test_long_arguments_are_compressed_and_short_ones_are_not(kind: str, use: Any) -> None:
    assert await moved(kind, use, LONG, compressor="gzip") < 1_000
    assert await moved(kind, use, LONG) > len(LONG)
    assert await moved(kind, use, SHORT, compressor="gzip") > len(SHORT)


@both
async def test_the_arguments_of_a_stream_are_compressed_at_any_length(kind: str) -> None:
    assert await moved(kind, streamed, LONG, compressor="gzip") < 1_000
    assert await moved(kind, streamed, SHORT, compressor="gzip") < 200
    assert await moved(kind, streamed, SHORT) > len(SHORT)


@both
async def test_a_compressor_that_fails_is_named_with_the_method(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(payload: bytes) -> bytes:
        raise ZeroDivisionError

    async with either(kind, Texts()) as client:
        monkeypatch.setattr(type(compressor_named("gzip")), "compress", lambda self, payload: broken(payload))
        with pytest.raises(EncodeError, match=r"arguments of texts\.size cannot be compressed by gzip"):
            await client.with_options(compressor="gzip").call(Texts.size, LONG)
