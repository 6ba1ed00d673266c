"""Streams that stay half-closed after early answers: calls by Connect and gRPC-Web with incomplete bodies."""

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from fastrpc import HTTP, Limits, Timeouts
from fastrpc.auth import Identity, StaticTokens
from tests.support.grpc_peer import message, served_grpc
from tests.support.raw_methods import Raw

WEB = HTTP(grpc_web=True, connect=True)
ECHO, TOTAL, NOTHING = (f"/test.v1.Raw/{name}" for name in ("echo", "total", "nothing"))
GRPC_WEB, CONNECT = "application/grpc-web", "application/proto"
CONNECT_STREAM = "application/connect+proto"
#: More than the limits of a message and of the windows of a stream.
BODY = bytes(500_000)
LIMITS = Limits(message_bytes=100_000)
FAULTY = b"\x7f" + message(BODY)[1:]
#: The method, the type of its call, and a body that is refused before its end.
EARLY = [
    (ECHO, GRPC_WEB, message(BODY)),
    (ECHO, CONNECT, BODY),
    (NOTHING, CONNECT, BODY),
    (TOTAL, GRPC_WEB, FAULTY),
    (TOTAL, CONNECT_STREAM, FAULTY),
    (ECHO, "text/plain", BODY),
]


@pytest.mark.parametrize(("path", "kind", "body"), EARLY)
async def test_the_unread_part_of_a_call_is_dropped_after_its_answer(
    path: str, kind: str, body: bytes
) -> None:
    async with served_grpc(Raw(), http=WEB, limits=LIMITS) as link:
        stream = link.open(path, [("content-length", str(len(body)))], kind=kind)
        await link.pour(stream, body)
        answer = await link.end(stream)
        await link.talk()
        assert (answer.is_ended, answer.reset, bool(answer.data)) == (True, None, True)
        link.look(60)
        await link.talk()
        assert (answer.reset, link.goaways) == (None, [])


@pytest.mark.parametrize(("path", "kind", "body"), EARLY)
async def test_a_call_without_its_end_is_reset_when_its_time_is_over(
    path: str, kind: str, body: bytes
) -> None:
    async with served_grpc(Raw(), http=WEB, limits=LIMITS, timeouts=Timeouts(linger=5)) as link:
        stream = link.open(path, [("content-length", str(len(body)))], kind=kind)
        link.send(stream, body[:60_000])
        await link.talk()
        answer = link.answers[stream]
        assert (answer.is_ended, answer.reset) == (True, None)
        link.look(4)
        await link.talk()
        assert answer.reset is None
        link.look(6)
        await link.talk()
        assert answer.reset == ErrorCodes.NO_ERROR


async def test_the_linger_time_begins_once_a_waiting_answer_has_left() -> None:
    async with served_grpc(Raw(), http=WEB, timeouts=Timeouts(linger=5)) as link:
        link.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await link.talk()
        stream, other = (link.open(NOTHING, kind=CONNECT) for _ in range(2))
        await link.talk()
        link.look(6)
        link.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
        await link.talk()
        link.send(other, b"", ends=True)
        await link.talk()
        answers = [link.answers[stream], link.answers[other]]
        assert [(answer.is_ended, answer.reset) for answer in answers] == [(True, None)] * 2
        link.look(10)
        await link.talk()
        assert answers[0].reset is None
        link.look(12)
        await link.talk()
        assert [answer.reset for answer in answers] == [ErrorCodes.NO_ERROR, None]


@pytest.mark.parametrize(
    ("kind", "linger", "length"),
    [("application/grpc", 5.0, "500000"), (CONNECT, None, "500000"), (CONNECT, None, "20000000")],
)
async def test_calls_of_grpc_and_calls_without_a_linger_time_are_reset_at_once(
    kind: str, linger: float | None, length: str
) -> None:
    async with served_grpc(Raw(), http=WEB, timeouts=Timeouts(linger=linger)) as link:
        stream = link.open(NOTHING, [("content-length", length)], kind=kind)
        await link.talk()
        assert link.answers[stream].reset == ErrorCodes.NO_ERROR


async def test_a_refused_call_with_a_long_rest_is_reset_after_the_linger_time() -> None:
    async with served_grpc(Raw(), http=WEB, timeouts=Timeouts(linger=5.0)) as link:
        stream = link.open(NOTHING, [("content-length", "20000000")], kind=CONNECT)
        await link.talk()
        answer = link.answers[stream]
        assert (answer.head[":status"], answer.reset) == ("404", None)
        link.look(6)
        await link.talk()
        assert answer.reset == ErrorCodes.NO_ERROR


async def test_refused_strangers_give_their_part_of_the_window_back() -> None:
    tokens = StaticTokens({"secret": Identity("ada")})
    async with served_grpc(Raw(), authenticate=tokens, http=WEB) as link:
        for _ in range(20):
            stream = link.open(ECHO, [("content-length", "100000")], kind=CONNECT)
            link.send(stream, bytes(30_000))
            answer = await link.end(stream)
            assert (answer.head[":status"], answer.reset) == ("401", None)
            assert link.h2.outbound_flow_control_window > 30_000
