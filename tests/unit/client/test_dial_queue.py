"""Few dials at a time, those that are most likely to answer first."""

import asyncio

from fastrpc.client.dial_queue import BEGUN_TOGETHER, MOST_DIALS, DialQueue


class Noted:
    """Notes that it is dialled."""

    def __init__(self, name: str, notes: list["Noted"], rank: int = 1) -> None:
        self.name = name
        self.dial_rank = rank
        self._notes = notes

    def dial(self) -> None:
        self._notes.append(self)

    def __repr__(self) -> str:
        return self.name


def queue_here() -> DialQueue:
    queue = DialQueue()
    queue.loop = asyncio.get_running_loop()
    return queue


async def some_turns() -> None:
    for _ in range(2 * MOST_DIALS // BEGUN_TOGETHER):
        await asyncio.sleep(0)


async def test_dials_at_the_same_time_are_limited() -> None:
    notes: list[Noted] = []
    queue = queue_here()
    subchannels = [Noted(str(number), notes) for number in range(1_000)]
    for subchannel in subchannels:
        queue.ask(subchannel)
    assert len(notes) == BEGUN_TOGETHER
    await some_turns()
    assert notes == subchannels[:MOST_DIALS]
    queue.ended(subchannels[5])
    await some_turns()
    assert notes == subchannels[: MOST_DIALS + 1]
    assert queue.under_way == MOST_DIALS


async def test_the_likeliest_endpoint_is_dialled_first_and_the_one_a_call_waits_for_before_it() -> None:
    notes: list[Noted] = []
    queue = queue_here()
    first = [Noted("first", notes) for _ in range(MOST_DIALS)]
    for subchannel in first:
        queue.ask(subchannel)
    await some_turns()
    failed, unknown, known = (Noted(name, notes, rank) for name, rank in (("f", 3), ("u", 1), ("k", 0)))
    wanted = Noted("w", notes, 3)
    for subchannel in (failed, unknown, known):
        queue.ask(subchannel)
    queue.ask(wanted)
    queue.ask(failed)
    queue.ask(known)
    queue.ask(wanted, is_wanted=True)
    del notes[:]
    for subchannel in first:
        queue.ended(subchannel)
    await some_turns()
    assert notes == [known, wanted, unknown, failed]


async def test_forgotten_endpoints_are_not_dialled() -> None:
    notes: list[Noted] = []
    queue = queue_here()
    subchannels = [Noted(str(number), notes) for number in range(20)]
    for subchannel in subchannels:
        queue.ask(subchannel)
    queue.forget(subchannels[10])
    assert subchannels[10] not in queue
    assert subchannels[11] in queue
    await some_turns()
    assert notes == [*subchannels[:10], *subchannels[11:]]


async def test_nothing_begins_after_the_end() -> None:
    notes: list[Noted] = []
    queue = queue_here()
    subchannels = [Noted(str(number), notes) for number in range(100)]
    for subchannel in subchannels:
        queue.ask(subchannel)
    queue.close()
    for subchannel in notes[:]:
        queue.ended(subchannel)
    await some_turns()
    assert len(notes) == BEGUN_TOGETHER


async def test_an_endpoint_is_not_dialled_twice_at_once() -> None:
    notes: list[Noted] = []
    queue = queue_here()
    subchannel = Noted("one", notes)
    queue.ask(subchannel)
    queue.ask(subchannel, is_wanted=True)
    assert notes == [subchannel]
    queue.ended(subchannel)
    queue.ask(subchannel)
    await some_turns()
    assert notes == [subchannel, subchannel]


async def test_the_endpoint_of_a_key_is_dialled_before_all_other_endpoints() -> None:
    notes: list[Noted] = []
    queue = queue_here()
    first = [Noted("first", notes) for _ in range(MOST_DIALS)]
    for subchannel in first:
        queue.ask(subchannel)
    await some_turns()
    known, wanted, keyed, other = (
        Noted(name, notes, rank) for name, rank in zip("kwpo", (0, 3, 3, 3), strict=True)
    )
    queue.ask(known)
    queue.ask(wanted, is_wanted=True)
    queue.ask(keyed)
    queue.ask(keyed, goes_first=True)
    queue.ask(other, goes_first=True)
    # It keeps its place.
    queue.ask(keyed)
    queue.ask(keyed, is_wanted=True)
    queue.ask(keyed, goes_first=True)
    del notes[:]
    for subchannel in first:
        queue.ended(subchannel)
    await some_turns()
    assert notes == [keyed, other, known, wanted]
