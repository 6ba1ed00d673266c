"""The life of a client's connection, as engines of protocols in Python have it: opening, age, rest, use."""

from typing import Any

import pytest

from fastrpc.config import ClientConfig, Keepalive, Timeouts
from tests.support.calling_link import ENDLESS, Lines, Link


class Linked(Link):
    """A link whose engine changes unnoticed by a type checker."""

    engine: Any


RESTING = Timeouts(handshake=None, idle=10.0)


async def test_an_opening_without_an_answer_ends_the_connection() -> None:
    link = Linked(Timeouts(handshake=5.0, idle=None), is_connected=False)
    assert link.look(4.0)
    assert not link.engine.is_closed
    link.engine.ready()
    link.look(6.0)
    assert not link.engine.is_closed


async def test_an_engine_may_have_another_attribute_named_stream() -> None:
    class Streaming(Lines):
        @property
        def stream(self) -> Any:
            return "no byte stream"

    link = Linked(engine_type=Streaming)
    assert link.owner.heard == ["ready"]
    assert link.engine.is_ready


async def test_a_connection_rests_after_its_last_call() -> None:
    link = Linked(RESTING)
    call = await link.call(1)
    link.look(20.0)
    assert not link.engine.is_closed
    link.engine.answer(link.engine.sent[0], b"1")
    await call
    link.look(20.0)
    assert link.engine.is_closed
    assert link.engine.life.is_dispensable


async def test_a_probe_is_no_use_of_a_connection() -> None:
    link = Linked(RESTING)
    link.engine.life.announces_calls = True
    made = link.caller.call("desk.mul", 1)
    probe = made._attempt_on(link.engine, 0)
    made.close()
    link.engine.begin_probe(probe)
    probe.send(None)
    assert link.owner.heard.count("used") == 0
    link.look(11.0)
    assert not link.engine.is_usable
    assert link.engine.life.is_dispensable
    assert not link.engine.is_closed
    link.engine.answer(link.engine.sent[0], b"1")
    assert link.engine.is_closed
    with pytest.raises(StopIteration):
        probe.send(None)


async def test_a_connection_without_a_call_is_dispensable() -> None:
    unused, used = Linked(), Linked()
    call = await used.call(1)
    for link in (unused, used):
        link.engine.leave()
    assert unused.engine.life.is_dispensable
    assert not used.engine.life.is_dispensable
    used.engine.answer(used.engine.sent[0], b"1")
    await call


async def test_an_old_connection_takes_calls_until_its_successor_does() -> None:
    link = Linked(ENDLESS, ClientConfig(codec="json", keepalive=Keepalive(max_age=100.0)))
    link.look(89.0)
    assert not link.engine.life.is_aged
    link.look(111.0)
    assert link.engine.life.is_aged
    assert link.owner.heard[-1] == "aged"
    assert link.engine.is_usable
    link.look(223.0)
    assert link.engine.is_closed


async def test_a_late_check_leaves_an_old_connection_the_time_for_its_successor() -> None:
    link = Linked(ENDLESS, ClientConfig(codec="json", keepalive=Keepalive(max_age=100.0)))
    # The loop was blocked, or the machine was asleep.
    link.look(350.0)
    link.look(351.0)
    assert (link.engine.life.is_aged, link.engine.is_usable) == (True, True)
    assert link.owner.heard == ["ready", "aged"]
    link.look(701.0)
    assert link.engine.is_closed


async def test_a_thread_finds_age_and_rest_with_its_next_call() -> None:
    second = 1_000_000_000
    link = Linked(RESTING, ClientConfig(codec="json", keepalive=Keepalive(max_age=100.0)))
    now = link.made_ns
    assert link.engine.own_calls.takes_thread(now + second, 0)
    assert not link.engine.own_calls.takes_thread(now + 111 * second, 0)
    assert link.engine.life.is_aged
    assert link.engine.own_calls.takes_thread(now + 111 * second, 0)
    assert not link.engine.life.is_spent
    assert link.engine.own_calls.takes_thread(now + 111 * second, now + 100 * second)
    assert link.engine.life.is_spent
    assert not link.engine.is_usable


async def test_a_crowd_is_announced_once() -> None:
    link = Linked()
    link.engine.await_crowd(2)
    for number in range(4):
        await link.call(number)
    await link.call(4)
    assert link.owner.heard.count("crowded") == 1
    for call in link.engine.sent:
        link.engine.answer(call, b"1")
