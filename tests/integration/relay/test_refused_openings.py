"""Connections that a relay refuses: each is closed, counted, and one line of each reason is logged."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from fastrpc import Client
from fastrpc.gauges import COUNTS
from fastrpc.relay import opening, wasted
from fastrpc.relay.refusals import RefusalReason
from fastrpc.relay.wire import GREETING
from tests.conftest import Scale
from tests.support.arith import Arith
from tests.support.client_hellos import hello_of_openssl, made_hello, named, recorded
from tests.support.peer_writing import write_to
from tests.support.relayed import RelayFiles, Relaying, relaying
from tests.support.waiting import eventually

HELLO = hello_of_openssl("edge-7.localhost")
UNRECOGNISED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
INTERNAL_ERROR = b"\x15\x03\x03\x00\x02\x02\x50"

BAD_OPENINGS = {
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", RefusalReason.NOT_TLS, b""),
    "ssh": (b"SSH-2.0-OpenSSH_9\r\n", RefusalReason.NOT_TLS, b""),
    "a greeting of another": (b"fastrpc-relax/1\n" + bytes(32), RefusalReason.NOT_TLS, b""),
    "an unknown token": (GREETING + bytes(32), RefusalReason.TOKEN, b""),
    "bytes behind the token": (GREETING + bytes(33), RefusalReason.EARLY, b""),
    "no name": (recorded(made_hello()), RefusalReason.NO_NAME, UNRECOGNISED_NAME),
    "two names": (recorded(made_hello(named(b"a.localhost", b"b.localhost"))), RefusalReason.TWO_NAMES, b""),
    "a name that is away": (hello_of_openssl("edge-9.localhost"), RefusalReason.AWAY, UNRECOGNISED_NAME),
    "a name elsewhere": (hello_of_openssl("edge-7.elsewhere"), RefusalReason.AWAY, UNRECOGNISED_NAME),
    "a claimed name alone": (hello_of_openssl("edge-7"), RefusalReason.AWAY, UNRECOGNISED_NAME),
    "a name below a claimed one": (
        hello_of_openssl("a.edge-7.localhost"),
        RefusalReason.AWAY,
        UNRECOGNISED_NAME,
    ),
    "oversized": (recorded(b"\x01\x01\x00\x00"), RefusalReason.OVERSIZED, b""),
    "malformed": (recorded(b"\x02\x00\x00\x00"), RefusalReason.MALFORMED, b""),
}


@asynccontextmanager
async def dialled(
    relay: Relaying, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port, local_addr=(host, 0))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """Return the bytes that arrive until the relay closes."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("kind", BAD_OPENINGS)
async def test_a_bad_opening_is_refused(kind: str, files: RelayFiles) -> None:
    sent, reason, answer = BAD_OPENINGS[kind]
    async with relaying(files) as relay:
        await relay.serve(Arith)
        before = COUNTS["relay_refused"].get(reason.label, 0)
        async with dialled(relay) as (reader, writer):
            write_to(writer, sent)
            assert await rest_of(reader) == answer
        assert relay.front.refusals.counts == {reason: 1}
        assert COUNTS["relay_refused"][reason.label] == before + 1
        await eventually(lambda: relay.front.openings == relay.front.pairs == 0)


async def test_one_line_a_reason_is_logged(files: RelayFiles, caplog: pytest.LogCaptureFixture) -> None:
    async with relaying(files) as relay:
        with caplog.at_level(logging.WARNING, "fastrpc.relay"):
            for sent, _, _ in (*BAD_OPENINGS.values(), *BAD_OPENINGS.values()):
                async with dialled(relay) as (reader, writer):
                    write_to(writer, sent)
                    await rest_of(reader)
        reasons = [record.reason for record in caplog.records if record.name == "fastrpc.relay"]  # type: ignore[attr-defined]
        assert sorted(reasons) == sorted({reason.label for _, reason, _ in BAD_OPENINGS.values()})


async def test_a_connection_that_ends_early_is_forgotten(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Arith)
        for sent in (b"", HELLO[:1], HELLO[:-1], GREETING[:3], GREETING):
            async with dialled(relay) as (reader, writer):
                write_to(writer, sent)
                writer.write_eof()
                assert await rest_of(reader) == b""
        await eventually(lambda: not relay.front.openings)


async def test_a_hello_cut_anywhere_reaches_its_server(files: RelayFiles) -> None:
    context = ssl.create_default_context(cafile=str(files.authority.cert_file))
    async with relaying(files) as relay:
        await relay.serve(Arith)
        for cut in range(1, 120, 17):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            opened = context.wrap_bio(incoming, outgoing, server_hostname="edge-7.localhost")
            with pytest.raises(ssl.SSLWantReadError):
                opened.do_handshake()
            hello = outgoing.read()
            async with dialled(relay) as (reader, writer):
                write_to(writer, hello[:cut])
                await eventually(lambda: relay.front.openings)
                write_to(writer, hello[cut:])
                while True:
                    incoming.write(await reader.read(65_536))
                    try:
                        opened.do_handshake()
                    except ssl.SSLWantReadError:
                        continue
                    break
                assert opened.getpeercert() is not None


async def test_a_connection_whose_peer_is_gone_is_closed(files: RelayFiles) -> None:
    class Gone(asyncio.Transport):
        is_aborted = False

        def get_extra_info(self, name: str, default: object = None) -> None:
            return None

        def abort(self) -> None:
            self.is_aborted = True

    async with relaying(files) as relay:
        transport = Gone()
        made = relay.front.wrap(asyncio.BufferedProtocol)()
        made.connection_made(transport)
        made.connection_lost(None)
        assert transport.is_aborted
        assert relay.front.openings == 0


async def test_a_late_opening_is_closed(files: RelayFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_OPENING_SECONDS", 0.05)
    async with relaying(files) as relay:
        async with dialled(relay) as (reader, writer):
            write_to(writer, HELLO[:20])
            assert await rest_of(reader) == b""
        assert relay.front.refusals.counts == {RefusalReason.LATE: 1}


async def test_silent_openings_give_way(files: RelayFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine twenty dials take longer than an opening may.
    monkeypatch.setattr(opening, "_OPENING_SECONDS", 60.0)
    async with relaying(files, openings=8) as relay, AsyncExitStack() as stack:
        await relay.serve(Arith)
        for number in range(20):
            await stack.enter_async_context(dialled(relay, f"127.0.1.{number + 1}"))
        # A connection that the server claims meanwhile is an opening as well, for a moment.
        await eventually(
            lambda: relay.front.openings == 8 and relay.front.refusals.counts[RefusalReason.CROWDED] >= 12
        )
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42


async def test_silent_openings_of_few_callers_make_room_for_a_slow_one_of_another(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_OPENING_SECONDS", 60.0)
    async with relaying(files, openings=8) as relay, AsyncExitStack() as stack:
        await relay.serve(Arith)
        # At another address than the data connections of the server, which are openings as well for a moment.
        _, slow = await stack.enter_async_context(dialled(relay, "127.0.1.9"))
        write_to(slow, HELLO[:20])
        await eventually(lambda: relay.front.openings == 1)
        for number in range(20):
            await stack.enter_async_context(dialled(relay, f"127.0.1.{number % 2 + 1}"))
        await eventually(lambda: relay.front.refusals.counts[RefusalReason.CROWDED] >= 13)
        write_to(slow, HELLO[20:])
        await eventually(lambda: relay.front.pairs == 1)


@pytest.mark.one_loop
async def test_no_call_fails_during_a_flood_of_silent_openings(
    files: RelayFiles, scale: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine the flood takes longer than an opening may.
    monkeypatch.setattr(opening, "_OPENING_SECONDS", 60.0)

    async def silent(number: int) -> None:
        async with dialled(relay, f"127.0.{number % 8 + 1}.1") as (reader, _):
            await rest_of(reader)

    async with relaying(files) as relay:
        await relay.serve(Arith)
        flood = [asyncio.ensure_future(silent(number)) for number in range(scale(400))]
        await eventually(lambda: relay.front.refusals.counts[RefusalReason.CROWDED] >= 100)
        for number in range(20):
            async with Client(relay.target(), config=files.client) as client:
                assert await client.call(Arith.mul, number, 7) == number * 7
        for one in flood:
            one.cancel()
        await asyncio.wait(flood)
        assert relay.front.refusals.counts.keys() == {RefusalReason.CROWDED}


async def test_silent_openings_of_one_caller_make_room_for_its_calls(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine ten dials take longer than an opening may.
    monkeypatch.setattr(opening, "_OPENING_SECONDS", 60.0)
    async with relaying(files, openings_of_caller=4) as relay, AsyncExitStack() as stack:
        await relay.serve(Arith)
        for _ in range(10):
            await stack.enter_async_context(dialled(relay))
        # The server's connections come from the same address.
        await eventually(lambda: relay.front.refusals.counts[RefusalReason.CROWDED] >= 6)
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42


async def test_an_address_that_wastes_its_openings_is_refused_before_it_opens_more(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine five dials take longer than a second.
    monkeypatch.setattr(wasted, "_COUNTED_SECONDS", 60.0)
    async with relaying(files, wasted_of_caller=5) as relay:
        await relay.serve(Arith)
        for number in range(5):
            # Each way of an opening to come to nothing: bytes that are refused, and an early end.
            async with dialled(relay, "127.0.1.1") as (reader, writer):
                if number % 2:
                    writer.write_eof()
                else:
                    write_to(writer, b"GET / HTTP/1.1\r\n\r\n")
                assert await rest_of(reader) == b""
        # Its reset may come before the dial has ended, or after it.
        with suppress(ConnectionResetError):
            async with dialled(relay, "127.0.1.1") as (reader, _):
                assert await rest_of(reader) == b""
        assert relay.front.refusals.counts[RefusalReason.WASTEFUL] == 1
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42


async def test_callers_that_say_where_they_go_waste_no_opening(
    files: RelayFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasted, "_COUNTED_SECONDS", 60.0)
    async with relaying(files, wasted_of_caller=5) as relay:
        await relay.serve(Arith)
        for number in range(12):
            async with Client(relay.target(), config=files.client) as client:
                assert await client.call(Arith.mul, number, 7) == number * 7
        assert not relay.front.refusals.counts


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"pairs": 2}, RefusalReason.FULL),
        ({"pairs_of_name": 2}, RefusalReason.NAME_FULL),
        ({"pairs_of_caller": 2}, RefusalReason.CALLER_FULL),
    ],
)
async def test_pairs_beyond_a_limit_are_refused(
    limits: dict[str, int], reason: RefusalReason, files: RelayFiles
) -> None:
    async with relaying(files, **limits) as relay:
        await relay.serve(Arith)
        async with dialled(relay) as first, dialled(relay) as second:
            for _, writer in (first, second):
                write_to(writer, HELLO)
            await eventually(lambda: relay.front.pairs == 2)
            async with dialled(relay) as (reader, writer):
                write_to(writer, HELLO)
                assert await rest_of(reader) == INTERNAL_ERROR
            assert relay.front.refusals.counts == {reason: 1}
        await eventually(lambda: not relay.front.pairs)
        async with dialled(relay) as (reader, writer):
            write_to(writer, HELLO)
            await eventually(lambda: relay.front.pairs == 1)
