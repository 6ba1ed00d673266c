"""Whatever two sides say to each other arrives, whole and in order, and all room comes back afterwards.

An engine talks to an engine or to the reference, with tight limits, messages larger than every window, readers
that take their time, and calls that are cancelled or answered early.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tests.conftest import Scale
from tests.support.talkers import EngineTalker, ReferenceTalker, Talker, exchange
from tests.support.wire_layout import FLAG_ONE_WAY, FLAG_STREAM_IN, FLAG_STREAM_OUT
from tests.support.wire_settings import Setting

SHAPES = (0, 0, FLAG_STREAM_IN, FLAG_STREAM_OUT, FLAG_STREAM_IN | FLAG_STREAM_OUT, FLAG_ONE_WAY)
SIZES = (0, 1, 100, 3_000, 16_384, 16_385, 40_000, 140_000)
POOLS = (200_000, 2_000_000)
MAKERS: dict[str, Callable[..., Talker]] = {"engine": EngineTalker, "reference": ReferenceTalker}


def limits(random: Random, is_server: bool) -> dict[int, Any]:
    return {
        Setting.MAX_FRAME: random.choice((16_384, 65_536, 262_144)),
        Setting.MAX_MESSAGE: 200_000,
        Setting.STREAM_WINDOW: random.choice((16_384, 65_536)),
        Setting.OPEN_MESSAGES: random.choice((1, 4)),
        Setting.MAX_CALLS: random.choice((8, 100)),
        Setting.MAX_STREAMS: 8,
        Setting.MIN_PING_MS: 0,
    }


class Author:
    """The plan of one side: the calls that it opens, sends and ends, and the parts of them that must arrive."""

    def __init__(self, random: Random, talker: Talker) -> None:
        self._random = random
        self._talker = talker
        #: Own calls by name: flags, payload of the REQUEST, messages sent; cancelled calls separately.
        self.opened: list[tuple[Any, int, bytes, list[bytes]]] = []
        self.sent: dict[int, list[bytes]] = {}
        self.answers: dict[int, tuple[int, bytes]] = {}
        self._ended: set[int] = set()
        self.cancelled: set[int] = set()

    def act(self) -> None:
        choice, random = self._random.random(), self._random
        if choice < 0.3 and len(self.opened) < 7:
            flags, payload = random.choice(SHAPES), random.randbytes(random.choice(SIZES))
            self.opened.append((self._talker.open(flags, payload), flags, payload, []))
        elif choice < 0.55:
            self._push_own()
        elif choice < 0.75:
            self._push_answering()
        elif choice < 0.8 and self._talker.open_here:
            call = random.choice(list(self._talker.open_here))
            status, payload = random.choice((0, 0, 0, 13)), random.randbytes(random.choice(SIZES))
            self.answers[call] = status, payload
            self._talker.respond(call, status, payload)
        elif choice < 0.83 and self.opened:
            call, flags, _, _ = random.choice(self.opened)
            if not flags & FLAG_ONE_WAY:
                self.cancelled.add(id(call))
                self._talker.cancel(call)
        elif self._talker.untaken:
            self._talker.take()

    def _push_own(self) -> None:
        running = [
            one
            for one in self.opened
            if one[1] & FLAG_STREAM_IN
            and id(one[0]) not in self._ended | self.cancelled
            and self._talker.id_of(one[0]) not in self._talker.responses
        ]
        if running:
            call, _, _, messages = self._random.choice(running)
            if self._random.random() < 0.2:
                self._ended.add(id(call))
                self._talker.end(call)
            else:
                messages.append(self._random.randbytes(self._random.choice(SIZES)))
                self._talker.push(call, messages[-1])

    def _push_answering(self) -> None:
        running = [call for call, flags in self._talker.open_here.items() if flags & FLAG_STREAM_OUT]
        if running:
            call = self._random.choice(running)
            message = self._random.randbytes(self._random.choice(SIZES))
            self.sent.setdefault(call, []).append(message)
            self._talker.push(call, message)

    def answer_all(self) -> None:
        for call in list(self._talker.open_here):
            self.answers[call] = 0, b""
            self._talker.respond(call, 0, b"")


def check(author: Author, talker: Talker, other_author: Author, other: Talker) -> None:
    """Compare the messages that one side sent with the messages that the other received."""
    for call, flags, payload, messages in author.opened:
        number = talker.id_of(call)
        if id(call) in author.cancelled or number in talker.given_up:
            assert messages[: len(other.messages[number])] == other.messages[number]
            continue
        assert other.requests[number] == payload
        if flags & FLAG_ONE_WAY:
            continue
        status, answer = other_author.answers[number]
        assert talker.responses[number] == (status, answer)
        # An early or failed answer cuts a stream off, but leaves no gap in it.
        assert messages[: len(other.messages[number])] == other.messages[number]
        streamed = other_author.sent.get(number, [])
        assert streamed[: len(talker.messages[number])] == talker.messages[number]
        if status == 0:
            assert talker.messages[number] == streamed


def converse(random: Random, sides: tuple[Talker, Talker]) -> tuple[Author, Author]:
    authors = Author(random, sides[0]), Author(random, sides[1])
    # The frames of a client before it has received any.
    for _ in range(random.choice((0, 5))):
        authors[0].act()
    for _ in range(3):
        exchange(random, sides)
    for _ in range(60):
        random.choice(authors).act()
        if random.random() < 0.3:
            exchange(random, sides)
    # Whoever waits for a reader or an answer gets it now.
    moved = True
    while moved:
        moved = exchange(None, sides)
        for author, side in zip(authors, sides, strict=True):
            while side.untaken:
                side.take()
                moved = True
            moved = moved or bool(side.open_here)
            author.answer_all()
    return authors


@pytest.mark.parametrize("server", MAKERS)
@pytest.mark.parametrize("client", MAKERS)
def test_everything_arrives_whole_and_in_order(client: str, server: str, scale: Scale) -> None:
    if client == server == "reference":
        pytest.skip("has its own tests")
    for seed in range(scale(150)):
        random = Random(seed)
        sides: tuple[Talker, Talker] = (
            MAKERS[client](False, limits(random, False), stream_pool=random.choice(POOLS)),
            MAKERS[server](True, limits(random, True), stream_pool=random.choice(POOLS)),
        )
        authors = converse(random, sides)
        assert sides[0].errors == sides[1].errors == [], f"seed {seed}"
        check(authors[0], sides[0], authors[1], sides[1])
        check(authors[1], sides[1], authors[0], sides[0])
        for side in sides:
            if isinstance(side, EngineTalker):
                assert side.connection.calls == [], f"seed {seed}"
                assert side.connection.sender.queued_bytes == 0
                assert side.pool_left == side.pool
                assert side.connection.callee.streams == side.connection.callee.one_way_calls == 0
                assert side.connection.callee.open_requests == side.connection.caller.open_responses == 0
