"""Lookups of host names while the resolver does not answer, on event loops."""

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc.endpoint import Address
from fastrpc.errors import ConnectError
from fastrpc.transports import lookups
from fastrpc.transports.base import DialOptions, ListenOptions
from fastrpc.transports.tcp import TRANSPORT as TCP
from tests.support.recording_session import RecordingSession, Sessions
from tests.support.waiting import eventually

AWAY = Address("tcp", host="away.test", port=80)


class Resolver:
    """Answers for `away.test` once it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked = 0
        self.answer: Any = socket.gaierror(socket.EAI_AGAIN, "the resolver is away")
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, *arguments: Any, flags: int = 0, **options: Any) -> Any:
        if host != AWAY.host:
            return self._real(host, *arguments, flags=flags, **options)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        self.asked += 1
        self.released.wait(60)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    found = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", found)
    yield found
    found.released.set()


async def dial_in_vain() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await TCP.dial(AWAY, RecordingSession, DialOptions())


async def until_nothing_is_looked_up() -> None:
    loop = asyncio.get_running_loop()
    await eventually(lambda: loop not in lookups._of_loops)


async def test_dials_of_a_name_that_is_not_answered_take_three_threads_and_none_of_the_program(
    resolver: Resolver,
) -> None:
    for _ in range(40):
        await dial_in_vain()
    async with asyncio.timeout(30):
        assert await asyncio.gather(*(asyncio.to_thread(int, "7") for _ in range(40))) == [7] * 40
    assert resolver.asked == lookups.MOST_OF_A_NAME
    resolver.released.set()
    await until_nothing_is_looked_up()


async def test_errors_that_come_after_every_dial_are_not_logged(
    resolver: Resolver, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "asyncio"):
        await dial_in_vain()
        resolver.released.set()
        await until_nothing_is_looked_up()
    assert [one.message for one in caplog.records if "exception" in one.message] == []


def test_a_loop_ends_while_a_lookup_has_no_answer(resolver: Resolver) -> None:
    asyncio.run(dial_in_vain())
    assert not resolver.released.is_set()
    resolver.released.set()


async def test_dials_that_share_a_lookup_all_get_its_answer(resolver: Resolver) -> None:
    server = Sessions()
    listener = await TCP.listen(Address("tcp", host="127.0.0.1"), server, ListenOptions())
    place = "127.0.0.1", listener.address.port
    resolver.answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place)]
    dials = [asyncio.create_task(TCP.dial(AWAY, RecordingSession, DialOptions())) for _ in range(8)]
    await eventually(lambda: resolver.asked >= lookups.MOST_OF_A_NAME)
    resolver.released.set()
    made = await asyncio.gather(*dials)
    for transport, session in made:
        transport.abort()
        await session.until_event("lost")
    assert resolver.asked == lookups.MOST_OF_A_NAME
    listener.close()


async def test_lookups_beyond_the_most_of_a_loop_wait_for_room(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "MOST_LOOKUPS", 1)
    first = asyncio.create_task(TCP.dial(AWAY, RecordingSession, DialOptions()))
    await asyncio.sleep(0)
    second = asyncio.create_task(TCP.dial(AWAY, RecordingSession, DialOptions()))
    await eventually(lambda: resolver.asked)
    assert resolver.asked == 1
    resolver.released.set()
    for dial in (first, second):
        with pytest.raises(ConnectError, match="the resolver is away"):
            await dial
    assert resolver.asked == 2


async def test_a_system_without_room_for_a_thread_is_a_connect_error(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched, pytest.raises(ConnectError, match="temporarily unavailable"):
        patched.setattr(threading.Thread, "start", refuse)
        await TCP.dial(AWAY, RecordingSession, DialOptions())
    resolver.released.set()
    with pytest.raises(ConnectError, match="the resolver is away"):
        await TCP.dial(AWAY, RecordingSession, DialOptions())


async def test_dials_of_a_name_that_wait_for_room_share_its_lookups(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "MOST_LOOKUPS", 8)
    resolver.answer = []
    found = lookups._of_loops[asyncio.get_running_loop()] = lookups._Lookups(asyncio.get_running_loop())
    for _ in range(lookups.MOST_LOOKUPS):
        await found._room.acquire()
    dials = [asyncio.create_task(lookups.look_up(AWAY.host, port=80, flags=0)) for _ in range(20)]
    await asyncio.sleep(0)
    for _ in range(lookups.MOST_LOOKUPS):
        found._room.release()
    await eventually(lambda: resolver.asked >= lookups.MOST_OF_A_NAME and not any(found._room._waiters or ()))
    assert resolver.asked == lookups.MOST_OF_A_NAME
    resolver.released.set()
    assert await asyncio.gather(*dials) == [[]] * 20
    await until_nothing_is_looked_up()


def test_a_loop_that_ends_before_it_takes_an_answer_is_not_kept(resolver: Resolver) -> None:
    async def leave() -> None:
        await dial_in_vain()
        resolver.released.set()
        while threading.active_count() > threads:
            # The loop does not run meanwhile.
            threading.Event().wait(0.001)

    async def failed() -> None:
        with pytest.raises(ConnectError):
            await TCP.dial(AWAY, RecordingSession, DialOptions())

    threads = threading.active_count()
    asyncio.run(leave())
    asyncio.run(failed())
    assert not [one for one in lookups._of_loops if one.is_closed()]
