"""An installed compressor that raises an exception of its own: it is reported as damage to the payload."""

import zlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, DecodeError, SyncClient
from fastrpc.compressors import base
from fastrpc.testing import serving
from tests.support.own_package import forget_tables
from tests.support.served import SCHEMES, served

LONG = "word " * 10_000
BAD = "bad" + LONG


@fastrpc.service("texts")
class Texts:
    @fastrpc.method
    async def echo(self, text: str) -> str:
        return text

    @fastrpc.method
    async def spoil(self, text: str) -> str:
        return "bad" + text


class Failing:
    """Raises its own exception for a text that begins with `bad`, as soon as that is decompressed."""

    name = "failing"
    wire_id = 70
    outcome: Any = None

    def compress(self, payload: base.Payload) -> bytes:
        return zlib.compress(bytes(payload))

    def decompress(self, payload: base.Payload, max_size: int) -> bytes:
        unpacked = zlib.decompress(bytes(payload))
        if b"bad" not in unpacked[:16]:
            return unpacked
        if isinstance(self.outcome, Exception):
            # A new one each time: its traceback holds the calls that it ended.
            raise type(self.outcome)(*self.outcome.args)
        made: bytes = self.outcome(unpacked)
        return made


class FailingInSteps(Failing):
    def decompress_steps(self, payload: base.Payload, max_size: int) -> base.Steps:
        yield
        return self.decompress(payload, max_size)


class FailingAtOnce(Failing):
    def decompress_steps(self, payload: base.Payload, max_size: int) -> base.Steps:
        # No generator: it fails before there is a first step.
        return self.whole(self.decompress(payload, max_size))

    def whole(self, unpacked: bytes) -> base.Steps:
        yield
        return unpacked


@pytest.fixture(params=["Failing", "FailingInSteps", "FailingAtOnce"])
def _installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    found = [EntryPoint("failing", f"{__name__}:{request.param}", base.ENTRY_POINT_GROUP)]
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: found if group == base.ENTRY_POINT_GROUP else []
    )
    forget_tables()
    yield
    forget_tables()


@pytest.fixture(params=[KeyError("odd"), OSError("odd"), zlib.error("odd"), StopIteration("odd"), bytearray])
def _outcome(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Failing, "outcome", request.param)


pytestmark = [pytest.mark.one_loop, pytest.mark.usefixtures("_installed", "_outcome")]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_an_answer_that_the_compressor_fails_on_is_a_decode_error(scheme: str) -> None:
    async with served(Texts, scheme=scheme) as target, Client(target) as client:
        view = client.with_options(compressor="failing")
        with pytest.raises(DecodeError, match=r"texts\.spoil"):
            await view.call(Texts.spoil, LONG)
        assert client.stats()["totals"]["failed"] == {"INTERNAL": 1}
        with pytest.raises(DecodeError, match=r"texts\.spoil"):
            await view.call("texts.spoil", LONG)
        assert await view.call(Texts.echo, LONG) == LONG


async def test_a_batch_has_a_decode_error_for_each_such_answer() -> None:
    async with served(Texts, scheme="tcp") as target, Client(target) as client:
        view = client.with_options(compressor="failing")
        outcomes = await view.call_many(Texts.spoil, [(LONG,)] * 3, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DecodeError] * 3
        assert client.stats()["totals"]["succeeded"] == 0


def test_a_blocking_client_says_the_same() -> None:
    with serving(Texts) as address, SyncClient(address) as client:
        view = client.with_options(compressor="failing")
        with pytest.raises(DecodeError, match=r"texts\.spoil"):
            view.call(Texts.spoil, LONG)
        outcomes = view.call_many(Texts.spoil, [(LONG,)] * 3, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DecodeError] * 3


async def test_a_request_that_the_compressor_fails_on_costs_its_call_alone() -> None:
    async with served(Texts, scheme="tcp") as target, Client(target) as client:
        view = client.with_options(compressor="failing")
        with pytest.raises(CallError):
            await view.call(Texts.echo, BAD)
        assert await view.call(Texts.echo, LONG) == LONG
        assert client.stats()["totals"]["connections"] == 1
