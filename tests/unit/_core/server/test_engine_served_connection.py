"""The served connection of an engine, and the check of the sender of a long request."""

import asyncio
import gc
import time
from typing import Any

import pytest

from fastrpc import Limits, ServerConfig
from fastrpc._core.rpcx.frames import PHOBOS, RPCX, Profile
from fastrpc._core.server.engine_served_connection import SenderCheck
from fastrpc._core.server.python_wire import PythonWire
from fastrpc_harness.checking import check
from tests.support.access_table import Credentials
from tests.support.kept_connection import gate_for
from tests.support.lines import link_of
from tests.support.rpcx_arith import Arith
from tests.support.rpcx_link import served_rpcx
from tests.support.rpcx_wire import RAW, Frame, call
from tests.support.shop import Shop
from tests.support.waiting import eventually


async def test_an_engine_and_its_connection_outlive_each_other() -> None:
    async with gate_for(Shop) as gate:
        engine = link_of(gate, PythonWire("kept"), ServerConfig())
        wire, connection = engine.wire, engine.connection
        del engine
        gc.collect()
        assert wire.link is None
        # No peer is left to notify.
        connection.abandon()


async def test_it_counts_calls_and_the_output_of_its_engine() -> None:
    async with gate_for(Shop) as gate:
        engine = link_of(gate, PythonWire("kept"), ServerConfig())
        gate.weigh_output(engine.connection, 64 << 20)
        call = gate.begin(engine.connection, method="shop.price", payload=b'["apple"]', codec="json")
        assert engine.connection.stats(7) == {"calls": 1, "one_way": 0, "buffered": 7, "credit": 0}
        gate.cancel_call(call)
        gate.engine_lost(engine, None)  # type: ignore[arg-type]
        assert engine.stats() == {"calls": 0, "one_way": 0, "buffered": 0, "credit": 0}


SIZE = 300_000
SECOND = 1_000_000_000


def echo(token: str | None = None, method: str = "EchoBytes", **more: str) -> Frame:
    metadata = more if token is None else {"__AUTH": token, **more}
    return call("Arith", method, bytes(SIZE), serialize=RAW, sequence=7, metadata=metadata)


def test_it_has_no_face() -> None:
    assert not [name for name in vars(SenderCheck) if not name.startswith("_")]


@pytest.mark.parametrize("size", [1_000, 65_536])
@pytest.mark.parametrize("token", ["allowed", "later-allowed"])
async def test_a_long_frame_of_somebody_is_received(token: str, size: int) -> None:
    async with served_rpcx(Arith(), authenticate=Credentials()) as talk:
        for _ in range(2):
            await talk.send(echo(token), size=size)
            [answer] = await talk.hear()
            assert (answer.sequence, answer.payload) == (7, bytes(SIZE))
        assert talk.engine.connection.held_bytes == 0


@pytest.mark.parametrize("authenticate", [None, Credentials()], ids=["anybody", "tokens"])
async def test_a_long_first_frame_may_take_longer_than_an_opening(authenticate: Credentials | None) -> None:
    async with served_rpcx(Arith(), authenticate=authenticate) as talk:
        data = echo("allowed").encode()
        await talk.send(data[:20_000])
        check(talk.engine, time.monotonic_ns() + 10 * SECOND)
        assert (len(talk.openings), talk.is_over) == (0, False)
        await talk.send(data[20_000:])
        [answer] = await talk.hear()
        assert answer.payload == bytes(SIZE)


@pytest.mark.parametrize("token", ["unknown", "later-unknown", None])
@pytest.mark.parametrize("method", ["EchoBytes", "None"])
@pytest.mark.parametrize(("profile", "closes"), [(RPCX, True), (PHOBOS, False)])
async def test_the_payload_of_nobody_is_not_waited_for(
    token: str | None, method: str, profile: Profile, closes: bool
) -> None:
    async with served_rpcx(Arith(), profile=profile, authenticate=Credentials()) as talk:
        data = echo(token, method, more="x").encode(profile.magic)
        await talk.send(data[:150])
        [refused] = await talk.hear()
        assert (refused.sequence, refused.metadata["frpc-code"]) == (7, "UNAUTHENTICATED")
        assert talk.engine.connection.held_bytes == 0
        assert talk.is_over is closes
        if not closes:
            # The remaining bytes are dropped.
            await talk.send(data[150:])
            answer = await talk.ask(call("Arith", "Echo", "a", metadata={"__AUTH": "allowed"}))
            assert answer.value() == "a"


@pytest.mark.parametrize("size", [1_000, 65_536])
async def test_the_payload_after_metadata_without_end_is_not_kept(size: int) -> None:
    async with served_rpcx(Arith(), authenticate=Credentials()) as talk:
        data = echo("allowed", x="y" * 70_000).encode()
        await talk.send(data[:-1], size=size)
        [refused] = await talk.hear()
        assert (refused.sequence, refused.metadata["frpc-code"]) == (7, "RESOURCE_EXHAUSTED")
        assert talk.engine.connection.held_bytes == 0
        # The rest is dropped.
        await talk.send(data[-1:])
        answer = await talk.ask(call("Arith", "Echo", "a", metadata={"__AUTH": "allowed"}))
        assert answer.value() == "a"


@pytest.mark.parametrize("size", [1_000, 65_536])
@pytest.mark.parametrize(("token", "status"), [("allowed", None), ("unknown", "UNAUTHENTICATED")])
async def test_metadata_up_to_the_limit_is_waited_for(token: str, status: str | None, size: int) -> None:
    config = ServerConfig(limits=Limits(metadata_bytes=65_535))
    async with served_rpcx(Arith(), config=config, authenticate=Credentials()) as talk:
        await talk.send(echo(token, x="y" * 65_400), size=size)
        [answer] = await talk.hear()
        assert answer.metadata.get("frpc-code") == status


@pytest.mark.parametrize("token", ["allowed", "later-allowed"])
@pytest.mark.parametrize("error", [LookupError, asyncio.CancelledError])
async def test_a_caller_that_may_not_is_refused_and_stays(token: str, error: type[BaseException]) -> None:
    def authorize(identity: Any, route: Any) -> bool:
        if route.method == "Keep":
            raise error("no rules")
        return bool(route.method != "EchoBytes")

    async with served_rpcx(Arith(), authenticate=Credentials(), authorize=authorize) as talk:
        for method, status in (("EchoBytes", "PERMISSION_DENIED"), ("Keep", "INTERNAL")):
            await talk.send(echo(token, method))
            [refused] = await talk.hear()
            assert refused.metadata["frpc-code"] == status
        await talk.send(echo("allowed", **{"frpc-code": "c"}))
        assert (await talk.hear())[0].metadata["frpc-code"] == "INVALID_ARGUMENT"
        assert not talk.is_over


async def test_a_connection_may_end_while_its_credential_is_verified() -> None:
    async with served_rpcx(Arith(), authenticate=Credentials()) as talk:
        await talk.send(echo("later-allowed").encode()[:150])
        talk.lose()
        await eventually(lambda: talk.engine.gate.guards.access.authentication.is_idle)
        assert talk.engine.connection.held_bytes == 0


class Hanging(Credentials):
    """Never verifies its token."""

    async def _later(self, said: str) -> Any:
        if said == "never":
            await asyncio.Event().wait()
        return await super()._later(said)


async def test_a_verdict_that_hangs_ends_in_a_refusal_at_the_deadline() -> None:
    async with served_rpcx(Arith(), authenticate=Hanging()) as talk:
        data = echo("later-never", __ServerTimeout="50").encode()
        await talk.send(data[:150])
        [refused] = await talk.hear()
        assert (refused.sequence, refused.metadata["frpc-code"]) == (7, "DEADLINE_EXCEEDED")
        assert talk.engine.connection.held_bytes == 0
        # The remaining bytes are dropped, and the connection stays.
        await talk.send(data[150:])
        answer = await talk.ask(call("Arith", "Echo", "a", metadata={"__AUTH": "later-allowed"}))
        assert answer.value() == "a"


class Slow(Credentials):
    """Takes its time for a token."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()

    async def _later(self, said: str) -> Any:
        await self.goes_on.wait()
        return await super()._later(said)


async def test_a_slow_verdict_is_no_silence_of_the_caller() -> None:
    credentials = Slow()
    async with served_rpcx(Arith(), authenticate=credentials) as talk:
        assert (await talk.ask(call("Arith", "Echo", "a", metadata={"__AUTH": "allowed"}))).value() == "a"
        data = echo("later-allowed", __ServerTimeout="600000").encode()
        sending = asyncio.ensure_future(talk.send(data[:150]))
        await eventually(lambda: talk.session.is_put_off)
        check(talk.engine, time.monotonic_ns() + 60 * SECOND)
        assert not talk.is_over
        credentials.goes_on.set()
        await sending
        await talk.send(data[150:])
        [answer] = await talk.hear()
        assert answer.payload == bytes(SIZE)


@pytest.mark.parametrize("read", [100, SIZE])
async def test_a_long_heartbeat_ends_the_connection_at_any_division(read: int) -> None:
    async with served_rpcx(Arith(), authenticate=Credentials()) as talk:
        await talk.send(Frame(heartbeat=True, payload=bytes(70_000)).encode(), size=read)
        assert talk.is_over
        assert talk.answers() == []


async def test_parts_that_run_past_the_frame_end_the_connection() -> None:
    async with served_rpcx(Arith(), authenticate=Credentials()) as talk:
        data = echo("allowed").encode()
        await talk.send(data[:16] + (SIZE + 100).to_bytes(4, "big") + data[20:150])
        assert talk.is_over
