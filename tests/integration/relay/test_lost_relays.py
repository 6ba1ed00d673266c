"""A relay that goes away and comes back, a line that is cut, and pairs that outlive their claim."""

import asyncio
from collections.abc import Iterator

import pytest

from fastrpc import Client, Server, ServerConfig
from fastrpc.config import Backoff
from fastrpc.config.delays import Delays
from fastrpc.relay import listener
from fastrpc.relay.server import RelayServer
from tests.support.arith import Arith
from tests.support.ports import free_ports
from tests.support.relayed import RelayFiles, relaying
from tests.support.waiting import eventually


def relay_at(port: int, files: RelayFiles) -> RelayServer:
    return RelayServer(
        f"tls://127.0.0.1:{port}", name="localhost", tls=files.relay.tls(), authenticate=files.tokens
    )


async def test_a_claim_is_made_again_once_the_relay_is_back(files: RelayFiles) -> None:
    (port,) = free_ports(1)
    target = f"relay://localhost:{port}/edge-7"
    async with Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
        async with relay_at(port, files):
            await server.listen(target + files.options())
            async with Client(target, config=files.client) as client:
                assert await client.call(Arith.mul, 6, 7) == 42
        async with relay_at(port, files) as relay:
            await eventually(lambda: "edge-7" in relay.front.claims.by_name)
            async with Client(target, config=files.client) as client:
                assert await client.call(Arith.mul, 6, 7) == 42


async def test_calls_go_on_once_a_killed_relay_is_back(files: RelayFiles) -> None:
    (port,) = free_ports(1)
    target = f"relay://localhost:{port}/edge-7"
    async with (
        Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server,
        Client(target, config=files.client) as client,
    ):
        for number in range(3):
            async with relay_at(port, files) as relay:
                if number == 0:
                    await server.listen(target + files.options())
                await eventually(lambda: "edge-7" in relay.front.claims.by_name)
                await client.ready(timeout=20)
                assert await client.call(Arith.mul, number, 7) == number * 7


async def test_a_server_starts_without_its_relay(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "_PATIENCE_SECONDS", 0.1)
    (port,) = free_ports(1)
    target = f"relay://localhost:{port}/edge-7"
    async with Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
        await server.listen(target + files.options())
        assert "it is tried on and on" in caplog.text
        async with relay_at(port, files) as relay:
            await eventually(lambda: "edge-7" in relay.front.claims.by_name)


async def test_calls_outlive_the_claim(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Arith)
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
            claims = relay.front.claims
            first = claims.by_name["edge-7"]
            claims.leave(first)
            assert await client.call(Arith.mul, 6, 8) == 48
            await eventually(lambda: claims.by_name.get("edge-7", first) is not first)
            assert await client.call(Arith.mul, 6, 9) == 54
            assert relay.front.pairs == 1


async def test_two_relays_are_two_ways_to_one_server(files: RelayFiles) -> None:
    async with relaying(files) as first, relaying(files) as second:
        async with Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
            for relay in (first, second):
                await server.listen(relay.target() + files.options())
            async with Client([first.target(), second.target()], config=files.client) as client:
                for number in range(20):
                    if number == 5:
                        await first.relay.close()
                    view = client.with_options(idempotent=True)
                    assert await view.call(Arith.mul, number, 7) == number * 7


@pytest.mark.parametrize("jitter", [-1, 1])
def test_pauses_between_claims_are_bounded(jitter: int) -> None:
    def extreme(lowest: float, highest: float) -> float:
        return highest if jitter > 0 else lowest

    delays = Delays(listener._BACKOFF, extreme)
    pauses = [delays.take() for _ in range(10_000)]
    assert max(pauses) <= 5.0
    assert min(pauses) >= 0.05
    assert isinstance(listener._BACKOFF, Backoff)


async def test_a_claim_that_is_lost_at_once_is_not_made_in_a_tight_loop(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    hold = listener.RelayListener._hold

    class Recorded(Delays):
        def take(self) -> float:
            slept.append(super().take())
            return 0.0

    monkeypatch.setattr(listener, "Delays", Recorded)
    monkeypatch.setattr(listener, "_PATIENCE_SECONDS", 0.05)

    async def held(self: listener.RelayListener, client: Client) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(listener.RelayListener, "_hold", held)
    async with relaying(files) as relay:
        await relay.serve(Arith)
        await eventually(lambda: len(slept) >= 20)
        monkeypatch.setattr(listener.RelayListener, "_hold", hold)
        assert min(slept[12:20]) >= 3.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make claims again at once."""
    monkeypatch.setattr(listener, "_LAST_SECONDS", 0.05)
    return
