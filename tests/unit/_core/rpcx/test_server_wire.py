"""The server's side of a connection: its refusals, its answers, and the time of its close."""

import asyncio
import contextlib
import gc
import time

import pytest

import fastrpc
from fastrpc import Keepalive, Limits, Memory, ServerConfig, Timeouts
from fastrpc._core.rpcx.frames import PHOBOS, RPCX, Profile
from fastrpc._core.server.link import Link
from fastrpc.auth import Identity, StaticTokens
from fastrpc_harness.checking import check
from tests.support.rpcx_arith import Arith
from tests.support.rpcx_link import ServedRpcx, served_rpcx
from tests.support.rpcx_wire import Frame, call
from tests.support.waiting import eventually

TOKENS = StaticTokens({"secret": Identity("gopher")})
SECOND = 1_000_000_000
#: With it a drain soon closes where no call is under way.
SHORT_DRAIN = ServerConfig(timeouts=Timeouts(drain=1e-6))
PRODUCT = call("Arith", "Mul", {"A": 6, "B": 7}, sequence=5)


@fastrpc.service("slow")
class Slow:
    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.started = self.cancelled = 0

    @fastrpc.method
    async def wait(self) -> str:
        self.started += 1
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "done"


@pytest.mark.parametrize("serialize", range(4, 16))
async def test_an_unknown_serialize_type_is_unimplemented_and_the_connection_stays(serialize: int) -> None:
    async with served_rpcx(Arith()) as talk:
        request = Frame(path="Arith", method="Mul", serialize=serialize, payload=b"x", sequence=3)
        refused = await talk.ask(request)
        assert (refused.sequence, refused.metadata["frpc-code"]) == (3, "UNIMPLEMENTED")
        assert (await talk.ask(PRODUCT)).value() == {"C": 42}


@pytest.mark.parametrize("compress", range(2, 8))
@pytest.mark.parametrize("heartbeat", [False, True])
async def test_an_unknown_compressor_ends_the_connection(compress: int, heartbeat: bool) -> None:
    async with served_rpcx(Arith()) as talk:
        await talk.send(Frame(path="Arith", method="Mul", compress=compress, heartbeat=heartbeat))
        assert (talk.answers(), talk.is_over) == ([], True)


@pytest.mark.parametrize(
    ("path", "method"),
    [("Arith", "None"), ("", ""), ("Arith.Mul", ""), ("", "Arith.Mul"), ("A" * 600, "Mul"), ("\udcff", "\0")],
)
async def test_a_name_of_no_method_is_unimplemented(path: str, method: str) -> None:
    data = Frame(path="@", method="@", sequence=9).encode()[:16]
    names = [text.encode("utf-8", "surrogateescape") for text in (path, method, "", "")]
    rest = b"".join(len(name).to_bytes(4, "big") + name for name in names)
    async with served_rpcx(Arith()) as talk:
        refused = await talk.ask(data[:12] + len(rest).to_bytes(4, "big") + rest)
        assert (refused.sequence, refused.metadata["frpc-code"]) == (9, "UNIMPLEMENTED")
        assert refused.metadata["frpc-processed"] == "no"


async def test_a_one_way_call_is_never_answered_for_any_outcome() -> None:
    service = Arith()
    async with served_rpcx(service) as talk:
        await talk.send(
            call("Arith", "Note", "kept", one_way=True),
            call("Arith", "None", None, one_way=True),
            call("Arith", "Note", 7, one_way=True),
            call("Arith", "Note", "x", one_way=True, metadata={"frpc-code": "c"}),
            PRODUCT,
        )
        [answer] = await talk.hear()
        assert (answer.sequence, service.notes, talk.is_over) == (5, ["kept"], False)


async def test_a_frame_over_the_limit_is_answered_by_its_header_and_ends_the_connection() -> None:
    config = ServerConfig(limits=Limits(message_bytes=4_096))
    async with served_rpcx(Arith(), config=config) as talk:
        await talk.send(PRODUCT.encode()[:12] + (2**32 - 1).to_bytes(4, "big"))
        [refused] = talk.answers()
        assert (refused.sequence, refused.metadata["frpc-code"]) == (5, "RESOURCE_EXHAUSTED")
        assert refused.metadata["frpc-retry-after-ms"] == "never"
        assert "announces 4294967311 bytes, the limit is" in refused.metadata["__rpcx_error__"]
        assert talk.is_over
        assert talk.engine.connection.held_bytes == 0


@pytest.mark.parametrize(("profile", "closes"), [(RPCX, True), (PHOBOS, False)])
async def test_a_refused_token_ends_a_connection_of_rpcx_alone(profile: Profile, closes: bool) -> None:
    async with served_rpcx(Arith(), profile=profile, authenticate=TOKENS) as talk:
        await talk.send(call("Arith", "Echo", "x", metadata={"__AUTH": "wrong"}))
        [refused] = await talk.hear()
        assert refused.metadata["frpc-code"] == "UNAUTHENTICATED"
        assert refused.metadata[profile.error_key.decode()]
        assert talk.is_over is closes


async def test_an_opening_lasts_until_the_first_frame_where_no_token_is_asked_for() -> None:
    async with served_rpcx(Arith()) as talk:
        assert len(talk.openings) == 1
        await talk.send(Frame(heartbeat=True))
        assert len(talk.openings) == 0


async def test_heartbeats_without_a_call_do_not_end_an_opening_where_a_token_is_asked_for() -> None:
    config = ServerConfig(timeouts=Timeouts(handshake=0.05))
    async with served_rpcx(Arith(), config=config, authenticate=TOKENS) as talk:
        await talk.send(Frame(heartbeat=True))
        await eventually(lambda: talk.is_over)
        assert len(talk.openings) == 0


async def test_a_drain_serves_calls_until_none_arrives_for_a_while() -> None:
    service = Slow()
    async with served_rpcx(service, Arith()) as talk:
        await talk.send(call("slow", "wait", sequence=1))
        talk.engine.begin_drain(0)
        assert (await talk.ask(PRODUCT)).value() == {"C": 42}
        assert (talk.engine.has_drained, talk.engine.stats()["calls"]) == (False, 1)
        service.goes_on.set()
        [answer] = await talk.hear()
        assert (answer.sequence, answer.value()) == (1, "done")
        assert not talk.engine.has_drained
        await eventually(lambda: talk.is_over)
        assert talk.engine.has_drained


async def test_connections_made_together_reach_their_age_at_different_times() -> None:
    config = ServerConfig(keepalive=Keepalive(max_age=100), timeouts=Timeouts(handshake=None, idle=None))
    async with contextlib.AsyncExitStack() as stack:
        talks = [await stack.enter_async_context(served_rpcx(Arith(), config=config)) for _ in range(40)]
        ends = []
        for seconds in (80, 100, 111):
            for talk in talks:
                check(talk.engine, time.monotonic_ns() + seconds * SECOND)
            ends.append(sum(talk.engine.connection.is_draining for talk in talks))
        assert (ends[0], 0 < ends[1] < 40, ends[2]) == (0, True, 40)


async def test_a_drain_finds_a_moment_to_close_where_calls_never_end() -> None:
    async with served_rpcx(Arith(), config=ServerConfig(timeouts=Timeouts(drain=0.1))) as talk:
        talk.engine.begin_drain(0)
        sent = answered = 0
        while not talk.is_over:
            await talk.send(PRODUCT)
            sent += 1
            answered += len(talk.answers())
        # Taken calls were answered.
        assert sent - 1 <= answered <= sent
        assert talk.engine.has_drained


async def test_a_drain_takes_nothing_more_where_calls_outlast_it() -> None:
    service = Slow()
    async with served_rpcx(service, Arith(), config=ServerConfig(timeouts=Timeouts(drain=0.1))) as talk:
        await talk.send(call("slow", "wait", sequence=1), PRODUCT.encode()[:20])
        talk.engine.begin_drain(0)
        await eventually(lambda: talk.engine.leaving.ignores_input)
        # A frame whose rest nobody takes is not waited for.
        check(talk.engine, time.monotonic_ns() + 60 * SECOND)
        await talk.send(PRODUCT.encode()[20:], PRODUCT)
        assert (talk.answers(), talk.is_over) == ([], False)
        service.goes_on.set()
        [answer] = await talk.hear()
        assert (answer.sequence, answer.value()) == (1, "done")
        await eventually(lambda: talk.is_over)


def beat(talk: ServedRpcx) -> None:
    """Receive a heartbeat and answer it, without a turn of the loop."""
    until = time.monotonic_ns() + SECOND // 1_000
    while time.monotonic_ns() < until:
        # No turn of the loop: the drain has begun, and its timer must not come first.
        pass
    data = Frame(heartbeat=True).encode()
    with memoryview(talk.session.get_buffer(len(data))) as place:
        place[: len(data)] = data
    talk.session.buffer_updated(len(data))


@pytest.mark.parametrize("state", ["something_unread", "something_untaken"])
@pytest.mark.parametrize("drains", [True, False])
async def test_a_connection_that_rests_does_not_close_before_all_is_read_and_taken(
    state: str, drains: bool
) -> None:
    async with served_rpcx(Arith(), config=ServerConfig(timeouts=Timeouts(idle=60))) as talk:
        assert (await talk.ask(PRODUCT)).value() == {"C": 42}
        if drains:
            talk.engine.begin_drain(0)
        seconds = 5 if drains else 90
        with getattr(talk.transport, state)():
            check(talk.engine, time.monotonic_ns() + seconds * SECOND)
            assert not talk.is_over
        check(talk.engine, time.monotonic_ns() + seconds * SECOND)
        assert talk.is_over


@pytest.mark.parametrize("state", ["something_unread", "something_untaken"])
async def test_a_drain_finds_no_moment_to_close_before_all_is_read_and_taken(state: str) -> None:
    async with served_rpcx(Arith(), config=SHORT_DRAIN) as talk:
        talk.engine.begin_drain(0)
        with getattr(talk.transport, state)():
            beat(talk)
            assert not talk.is_over
        beat(talk)
        assert talk.is_over


class Pusher:
    """Counts how often it hears of room."""

    rooms = 0

    def on_room(self) -> None:
        self.rooms += 1

    def on_end(self) -> None:
        pass


async def test_a_connection_is_read_again_once_a_little_output_has_left() -> None:
    """The transport writes the last bytes by itself: only a look notices."""
    pusher = Pusher()
    async with served_rpcx(Arith(), config=ServerConfig(memory=Memory(send_soft=16_384))) as talk:
        talk.transport.untaken = 65_536
        talk.engine.pusher = pusher
        await talk.send(Frame(heartbeat=True))
        assert (talk.transport.is_paused, pusher.rooms) == (True, 0)
        assert talk.engine.connection.held_bytes == 65_536
        talk.transport.untaken = 0
        await eventually(lambda: not talk.transport.is_paused)
        assert pusher.rooms == 1
        assert talk.engine.connection.held_bytes == 0


async def test_the_time_in_which_a_connection_is_not_read_is_no_silence() -> None:
    async with served_rpcx(Arith(), config=ServerConfig(memory=Memory(send_soft=16_384))) as talk:
        talk.transport.untaken = 65_536
        await talk.send(Frame(heartbeat=True).encode() + PRODUCT.encode()[:20])
        assert talk.transport.is_paused
        talk.transport.untaken = 0
        began = time.monotonic_ns()
        for seconds, is_over in ((60, False), (70, False), (90, True)):
            check(talk.engine, began + seconds * SECOND)
            assert talk.is_over is is_over


async def test_a_connection_is_not_idle_while_a_frame_comes() -> None:
    async with served_rpcx(Arith(), config=ServerConfig(timeouts=Timeouts(idle=5))) as talk:
        assert (await talk.ask(PRODUCT)).value() == {"C": 42}
        await talk.send(PRODUCT.encode()[:20])
        check(talk.engine, time.monotonic_ns() + 10 * SECOND)
        assert not talk.is_over
        assert (await talk.ask(PRODUCT.encode()[20:])).value() == {"C": 42}
        check(talk.engine, time.monotonic_ns() + 10 * SECOND)
        assert talk.is_over


async def test_a_connection_that_moves_ends_no_calls_until_the_server_drains() -> None:
    """Its peer may use it for long: nobody else goes."""
    async with served_rpcx(Arith(), config=SHORT_DRAIN) as talk:
        talk.engine.begin_drain(1, "the connection moves to another worker process")
        beat(talk)
        check(talk.engine, time.monotonic_ns())
        assert (talk.engine.connection.is_draining, talk.engine.leaving.ignores_input, talk.is_over) == (
            True,
            False,
            False,
        )
        talk.engine.begin_drain(0)
        beat(talk)
        assert talk.is_over


async def test_calls_that_are_cut_off_are_answered_and_their_handlers_stopped() -> None:
    service = Slow()
    async with served_rpcx(service) as talk:
        await talk.send(call("slow", "wait", sequence=1), call("slow", "wait", sequence=2))
        # A stall puts the start of a handler off.
        await eventually(lambda: service.started == 2)
        talk.engine.end_calls("the house closes")
        answers = await talk.hear(2)
        assert sorted(answer.sequence for answer in answers) == [1, 2]
        assert {answer.metadata["__rpcx_error__"] for answer in answers} == {"the house closes"}
        await eventually(lambda: service.cancelled == 2)


async def test_the_end_of_the_stream_stops_every_call_and_frees_the_engine() -> None:
    service = Slow()
    async with served_rpcx(service) as talk:
        await talk.send(call("slow", "wait", sequence=1))
        await eventually(lambda: service.started == 1)
        connection = talk.engine.connection
        talk.lose()
        await eventually(lambda: service.cancelled == 1)
        del talk.engine, talk.session
        gc.collect()
        connection.note_drain()
        assert connection.held_bytes == 0
        talk.lose = lambda: None  # type: ignore[method-assign]


async def test_a_wire_is_held_by_one_link() -> None:
    async with served_rpcx(Arith()) as talk:
        with pytest.raises(RuntimeError, match="a wire is held by one link"):
            Link(
                talk.wire,
                gate=talk.engine.gate,
                openings=talk.openings,
                timeouts=Timeouts(),
                keepalive=Keepalive(),
            )
