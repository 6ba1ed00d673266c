"""A relay that does harm: handshake errors or lost connections, never a wrong answer."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

import fastrpc
from fastrpc import Client, ConnectError, FastRPCError, Server, ServerConfig
from fastrpc.relay import listener
from fastrpc.relay.claims import MOST_ASKED, SPARES, Claim
from fastrpc.relay.listener import MOST_CONNECTIONS
from fastrpc.relay.splicing import SplicedEnd, SplicedPair
from fastrpc.relay.wire import signed_header
from tests.conftest import Scale
from tests.support.arith import Arith
from tests.support.client_hellos import hello_of_openssl
from tests.support.peer_writing import write_to
from tests.support.relayed import RelayFiles, Relaying, relaying
from tests.support.waiting import eventually


@fastrpc.service("arith")
class Liar:
    """Has the name of the right service."""

    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b + 1


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> RelayFiles:
    """Return the same names by another authority."""
    return RelayFiles.made(tmp_path_factory.mktemp("foreign"))


async def test_servers_that_are_swapped_are_noticed(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Arith)
        await relay.serve(Liar, name="edge-8", owner="other")
        claims = relay.front.claims.by_name
        claims["edge-7"], claims["edge-8"] = claims["edge-8"], claims["edge-7"]
        async with Client(relay.target(), config=files.client) as client:
            with pytest.raises(ConnectError, match="it is for another host name"):
                await client.call(Arith.mul, 6, 7)


async def test_a_server_of_another_authority_is_noticed(files: RelayFiles, foreign: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Liar, certificate=foreign.edge)
        async with Client(relay.target(), config=files.client) as client:
            with pytest.raises(ConnectError, match="its authority is not trusted"):
                await client.call(Arith.mul, 6, 7)


#: Calls through a relay that does harm, at the same time, and the seconds until one whose bytes were cut is given up.
TRIES_AT_ONCE = 8
HARMED_SECONDS = 2.0


class Harm:
    """Changes bytes that pass the relay, by a seed.

    Args:
        kept: pieces that passed by this pair and by earlier ones.
    """

    def __init__(self, seed: int, kept: deque[bytes]) -> None:
        self._random = random.Random(seed)
        # Of this number of pieces six are harmed: some pairs must get beyond the handshake.
        self._pieces = self._random.choice((12, 48, 192))
        self._kept = kept

    def choose(self, right: Claim, others: Sequence[Claim]) -> Claim:
        """Return the server of the next caller: now and then another one."""
        return right if self._random.randrange(4) else self._random.choice(others)

    def received(self, end: SplicedEnd, nbytes: int) -> None:
        data = bytes(end.pair.place[:nbytes])
        end.received += nbytes
        self._kept.append(data)
        kind = self._random.randrange(self._pieces)
        place = self._random.randrange(len(data))
        if kind == 0:
            data = data[:place] + bytes([data[place] ^ (1 << self._random.randrange(8))]) + data[place + 1 :]
        elif kind == 1:
            data = data[:place]
        elif kind == 2:
            data += data[place:]
        elif kind == 3:
            data = self._random.choice(self._kept)
        elif kind == 4:
            end.transport.abort()
        elif kind == 5:
            loop = asyncio.get_running_loop()
            loop.call_later(self._random.random() / 50, self._send, end, data)
            return
        self._send(end, data)

    def _send(self, end: SplicedEnd, data: bytes) -> None:
        if not end.other.transport.is_closing():
            end.other.transport.write(data)


class Tries:
    """Calls through a relay that does harm to each pair of connections, as the next seed says.

    It changes, replays, truncates and delays bytes, swaps servers, and answers itself: with its certificate, and with
    one of a foreign authority for the right name. All of the wrong servers lie.
    """

    def __init__(self, files: RelayFiles, relay: Relaying, seeds: range) -> None:
        timeouts = replace(files.client.timeouts, connect=HARMED_SECONDS, call=HARMED_SECONDS)
        self._config = replace(files.client, timeouts=timeouts)
        self._target = relay.target()
        self._seeds = seeds
        self._claims = relay.front.claims.by_name
        self._claim = self._claims["edge-7"]
        self._wrong = [claim for claim in self._claims.values() if claim is not self._claim]
        self._kept: deque[bytes] = deque(maxlen=200)
        self._harms: dict[SplicedPair, Harm] = {}
        self._room = asyncio.Semaphore(TRIES_AT_ONCE)
        self.answered = self.swapped = 0

    async def run(self) -> None:
        begin = SplicedPair.begin

        def begin_next(pair: SplicedPair, first: bytes) -> None:
            harm = self._harms[pair] = Harm(self._seeds.start + len(self._harms), self._kept)
            chosen = self._claims["edge-7"] = harm.choose(self._claim, self._wrong)
            self.swapped += chosen is not self._claim
            begin(pair, first)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(SplicedPair, "begin", begin_next)
            patched.setattr(
                SplicedEnd, "buffer_updated", lambda end, size: self._harms[end.pair].received(end, size)
            )
            await asyncio.gather(*map(self._call, self._seeds))
        self._claims["edge-7"] = self._claim

    async def _call(self, number: int) -> None:
        async with self._room, Client(self._target, config=self._config, fail_mode="failfast") as client:
            with suppress(FastRPCError):
                assert await client.call(Arith.mul, number, 7) == number * 7
                self.answered += 1


async def harmed(files: RelayFiles, foreign: RelayFiles, seeds: range) -> str:
    """Call through a relay that does harm, once for each seed; return the outcome."""
    config = ServerConfig(timeouts=fastrpc.Timeouts(handshake=HARMED_SECONDS))
    async with relaying(files, rules=[{"who": ["edge"], "relay": ["*"]}]) as relay:
        await relay.serve(Arith, config=config)
        with pytest.MonkeyPatch.context() as patched:
            # The relay itself looks at no certificate before it answers.
            patched.setattr(listener, "check_covers", lambda *_: None)
            for name, certificate in (
                ("edge-8", files.other),
                ("own", files.relay),
                ("foreign", foreign.edge),
            ):
                await relay.serve(Liar, name=name, certificate=certificate, config=config)
        tries = Tries(files, relay, seeds)
        await tries.run()
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
    assert tries.answered
    assert tries.swapped
    return f"{len(seeds):,} tries: {tries.answered:,} answered, {tries.swapped:,} swapped, none wrong"


@pytest.mark.one_loop
async def test_harm_on_the_way_leads_to_no_wrong_answer(
    files: RelayFiles, foreign: RelayFiles, scale: Scale
) -> None:
    await harmed(files, foreign, scale.seeds(1_000))


@pytest.mark.measures
@pytest.mark.one_loop
async def test_harm_in_a_thousand_tries_leads_to_no_wrong_answer(
    files: RelayFiles, foreign: RelayFiles, scale: Scale
) -> None:
    print(await harmed(files, foreign, range(scale(1_000))))


async def test_a_recorded_caller_is_no_caller(files: RelayFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    forward = SplicedEnd.buffer_updated

    def recorded(end: SplicedEnd, nbytes: int) -> None:
        if end is end.pair.caller:
            sent.append(bytes(end.pair.place[:nbytes]))
        forward(end, nbytes)

    arith = Arith()
    async with relaying(files) as relay:
        await relay.serve(arith)
        headers: list[bytes] = []
        begin = SplicedPair.begin

        def noted(pair: SplicedPair, first: bytes) -> None:
            headers.append(first)
            begin(pair, first)

        monkeypatch.setattr(SplicedPair, "begin", noted)
        monkeypatch.setattr(SplicedEnd, "buffer_updated", recorded)
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        hello = headers[0][headers[0].index(b"\x16\x03") :]
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        write_to(writer, hello + b"".join(sent))
        with suppress(ConnectionResetError):
            await reader.read()
        writer.transport.abort()
        assert arith.ran == 1


# Faults of a relay that a server handles


@asynccontextmanager
async def in_the_place_of_the_relay(
    relay: Relaying, answer: bytes | None, key: bytes | None = None
) -> AsyncIterator[Server]:
    """Answer the data connections of a server with other bytes than a relay's."""
    claim = relay.front.claims
    join = claim.joining

    class Forging:
        def join(self, name: str, caller: object, server: asyncio.Transport, its_key: bytes) -> None:
            header = signed_header(("203.0.113.9", 9), key or its_key) if answer is None else answer
            server.write(header + hello_of_openssl("edge-7.localhost"))
            caller.leave().abort()  # type: ignore[attr-defined]

        def refuse(self, *_: object) -> None: ...

    claim.joining = Forging()  # type: ignore[assignment]
    try:
        yield await relay.serve(Arith)
    finally:
        claim.joining = join


@pytest.mark.parametrize(
    ("answer", "key", "reason"),
    [
        (None, b"k" * 32, "the HMAC of its PROXY header is wrong"),
        (b"", None, "its first bytes are not a PROXY header"),
        (b"PROXY TCP4 203.0.113.9 127.0.0.1 9 8443\r\n", None, "the HMAC of its PROXY header is wrong"),
        (b"PROXY UNKNOWN\r\n" + bytes(32), None, "the HMAC of its PROXY header is wrong"),
        (signed_header(("203.0.113.9", 9), b"k" * 32)[:-32], None, "the HMAC of its PROXY header is wrong"),
    ],
)
async def test_a_data_connection_without_a_signed_header_is_refused(
    answer: bytes | None,
    key: bytes | None,
    reason: str,
    files: RelayFiles,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with relaying(files) as relay, in_the_place_of_the_relay(relay, answer, key) as server:
        _reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        write_to(writer, hello_of_openssl("edge-7.localhost"))
        await eventually(lambda: reason in caplog.text)
        assert server.peers() == []
        writer.transport.abort()


async def test_a_relay_that_asks_for_many_connections_gets_few(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastrpc.relay.claims.SPARES", 1_000)
    async with relaying(files) as relay:
        await relay.serve(Arith)
        claim = relay.front.claims.by_name["edge-7"]
        await eventually(lambda: len(claim.spares) >= 60)
        assert len(claim.spares) <= MOST_CONNECTIONS == MOST_ASKED + 2 * SPARES
