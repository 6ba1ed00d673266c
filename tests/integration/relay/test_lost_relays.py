"""A relay that goes away and comes back, a line that is cut, and pairs that outlive their claim."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

import fastrpc
from fastrpc import Client, FastRPCError, Server, ServerConfig
from fastrpc.config import Backoff, Keepalive
from fastrpc.config.delays import Delays
from fastrpc.relay import listener
from fastrpc.relay.front import Front
from fastrpc.relay.place import RelayPlace
from fastrpc.relay.server import RelayServer
from fastrpc.relay.service import RelayService
from fastrpc.relay.troubles import ClaimTrouble
from tests.support.arith import Arith
from tests.support.peer_writing import write_to
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


async def test_calls_continue_once_a_killed_relay_is_back(files: RelayFiles) -> None:
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
                await relay.close()


async def test_the_server_that_started_last_has_its_name_again_once_the_relay_is_back(
    files: RelayFiles,
) -> None:
    (port,) = free_ports(1)
    target = f"relay://localhost:{port}/edge-7"
    async with (
        Server(Arith, config=ServerConfig(tls=files.edge.tls())) as old,
        Server(Arith, config=ServerConfig(tls=files.edge.tls())) as new,
    ):
        async with relay_at(port, files) as relay:
            for server in (old, new):
                await server.listen(target + files.options())
            last = relay.front.claims.by_name["edge-7"].instance
        for _ in range(3):
            async with relay_at(port, files) as relay:
                claims = relay.front.claims.by_name
                await eventually(
                    lambda claims=claims: "edge-7" in claims and claims["edge-7"].instance == last
                )


async def test_a_server_that_started_without_its_relay_is_judged_by_its_start(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "_PATIENCE_SECONDS", 0.05)
    (port,) = free_ports(1)
    async with Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
        await server.listen(f"relay://localhost:{port}/edge-7{files.options()}")
        async with (
            relay_at(port, files) as relay,
            Client(f"tls://localhost:{port}", credentials="token-of-edge", config=files.client) as client,
            client.stream(RelayService.claim, "edge-7", "later", True, time.time_ns()) as tickets,
        ):
            await anext(tickets)
            # The server was refused, or has lost the name to the later program.
            await eventually(lambda: "another program of edge has" in caplog.text)
            assert relay.front.claims.by_name["edge-7"].instance == "later"


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


async def test_no_call_fails_while_one_of_two_relays_dies(files: RelayFiles) -> None:
    async with (
        relaying(files) as first,
        relaying(files) as second,
        Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server,
        Client([first.target(), second.target()], config=files.client) as client,
    ):
        for relay in (first, second):
            await server.listen(relay.target() + files.options())
        view = client.with_options(idempotent=True)

        async def call(numbers: range) -> None:
            for number in numbers:
                assert await view.call(Arith.mul, number, 7) == number * 7

        calling = asyncio.gather(*(call(range(start, start + 100)) for start in range(0, 500, 100)))
        await eventually(lambda: first.front.pairs and second.front.pairs)
        first.front.shut()
        await first.relay.close()
        await calling
        await call(range(20))


@fastrpc.service("gate")
class Gate:
    """Holds a call until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    @fastrpc.method
    async def wait(self) -> int:
        await self.opened.wait()
        return 42


async def test_a_relay_that_drains_ends_its_claims_and_waits_for_its_pairs(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    reached = asyncio.Event()
    open_pairs = []

    for name in ("wait_quiet", "shut"):
        step = getattr(Front, name)

        def noted(front: Front, step: Callable[[Front], object] = step) -> object:
            open_pairs.append((step.__name__, front.pairs))
            reached.set()
            return step(front)

        monkeypatch.setattr(Front, name, noted)
    async with relaying(files) as relay:
        await relay.serve(gate)
        async with Client(relay.target(), config=files.client) as client:
            running = asyncio.ensure_future(client.call(Gate.wait))
            await eventually(lambda: relay.front.pairs == 1)
            ending = asyncio.ensure_future(relay.relay.__aexit__(None, None, None))
            await reached.wait()
            assert not relay.front.claims.by_name
            gate.opened.set()
            assert await running == 42
        await ending
    assert open_pairs == [("wait_quiet", 1), ("shut", 0)]


async def test_a_relay_cuts_pairs_that_outlast_its_drain(files: RelayFiles) -> None:
    gate = Gate()
    async with relaying(files) as relay:
        await relay.serve(gate)
        async with Client(relay.target(), config=files.client) as client:
            running = asyncio.ensure_future(client.call(Gate.wait))
            await eventually(lambda: relay.front.pairs == 1)
            # No call of the relay's own service was cut off: a busy machine ends a claim within this time.
            assert await relay.relay._server.drain(2.0)
            with pytest.raises(FastRPCError):
                await running
            await eventually(lambda: relay.front.pairs == 0)


class Line:
    """A line between a server and its relay that can be cut: bytes and connections stand still."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.is_cut = False
        self._writers: list[asyncio.StreamWriter] = []

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, far_writer]
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if not self.is_cut:
                    write_to(writer, data)
        if not self.is_cut:
            writer.close()

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def test_a_server_whose_line_was_cut_is_back(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastrpc.relay.service.KEEPALIVE", Keepalive(interval=0.1, timeout=0.2))
    monkeypatch.setattr(listener, "_KEEPALIVE", Keepalive(interval=0.1, timeout=0.2))
    async with relaying(files) as relay, Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
        line = Line(relay.port)
        between = await asyncio.start_server(line.pass_on, "127.0.0.1", 0)
        port = between.sockets[0].getsockname()[1]
        await server.listen(f"relay://localhost:{port}/edge-7{files.options()}")
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        line.is_cut = True
        await eventually(lambda: not relay.front.claims.by_name)
        line.close()
        line.is_cut = False
        await eventually(lambda: "edge-7" in relay.front.claims.by_name)
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        between.close()
        await server.close()
        line.close()


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
    hold = listener.RelayListener._held

    class Recorded(Delays):
        def take(self) -> float:
            slept.append(super().take())
            return 0.0

    monkeypatch.setattr(listener, "Delays", Recorded)
    monkeypatch.setattr(listener, "_PATIENCE_SECONDS", 0.05)

    async def held(self: listener.RelayListener, client: Client) -> ClaimTrouble:
        await asyncio.sleep(0)
        return ClaimTrouble("the relay ended it")

    monkeypatch.setattr(listener.RelayListener, "_held", held)
    async with relaying(files) as relay:
        await relay.serve(Arith)
        await eventually(lambda: len(slept) >= 20)
        monkeypatch.setattr(listener.RelayListener, "_held", hold)
        assert min(slept[12:20]) >= 3.0


async def test_a_relay_that_is_away_is_dialled_once_for_each_claim(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A client that dials by itself dials several times in such a pause.
    monkeypatch.setattr(listener, "_BACKOFF", Backoff(first=0.3, longest=0.3))
    claims: list[object] = []
    dials: list[object] = []
    in_words = listener.trouble_of

    def noted(failure: FastRPCError, place: RelayPlace) -> ClaimTrouble:
        claims.append(failure)
        return in_words(failure, place)

    def dialled(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dials.append(writer)
        writer.close()

    monkeypatch.setattr(listener, "trouble_of", noted)
    (port,) = free_ports(1)
    async with Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
        async with relay_at(port, files):
            await server.listen(f"relay://localhost:{port}/edge-7{files.options()}")
        await eventually(lambda: claims)
        async with await asyncio.start_server(dialled, "127.0.0.1", port):
            claims.clear()
            await eventually(lambda: len(claims) >= 4)
            # One more may be under way.
            assert len(dials) <= len(claims) + 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server end at once without its relay."""
    monkeypatch.setattr(listener, "_LAST_SECONDS", 0.05)
