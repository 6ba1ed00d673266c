"""Announcements, and answers to the queries of other instances."""

import random
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc.registries.base.announced import AnnouncedLookup
from fastrpc.registries.lan import node
from fastrpc.registries.lan.backend import LanBackend
from fastrpc.registries.lan.datagrams import ANNOUNCE, GOODBYE, NO_NONCE, QUERY, LanDatagram, bodies_of
from fastrpc.registries.lan.members import LanMembers
from fastrpc.registries.lan.node import TURN_SECONDS, LanNode
from fastrpc.testing import FakeClock

RECORD = ("arith", b"{}")


def query(number: int, sequence: int = 1) -> LanDatagram:
    return LanDatagram(QUERY, 0, bytes([number]) * 16, sequence, bytes([number, sequence]) * 8)


class Answering:
    """A node with one record, and the nonces of its announcements."""

    def __init__(self) -> None:
        keys: Any = SimpleNamespace(value={})
        self.node = LanNode(keys, None)
        self.node._own[RECORD] += 1
        self.node._join_at = float("inf")
        self.nonces: list[bytes] = []
        self.node._emit = self._note  # type: ignore[method-assign]

    def _note(self, kind: int, nonce: bytes, body: bytes) -> None:
        assert kind == ANNOUNCE
        self.nonces.append(nonce)

    def answers(self, *queries: LanDatagram) -> list[bytes]:
        """Return the nonces of the answers to queries that arrive at the same time."""
        for one in queries:
            self.node._note_query(one)
        self.nonces.clear()
        # The time of the answer has come.
        self.node._answer_at = float("-inf")
        self.node._act()
        return list(self.nonces)


def test_each_query_of_a_window_is_answered_with_its_nonce() -> None:
    answering = Answering()
    first, second = query(1), query(2)
    assert answering.answers(first, second) == [first.nonce, second.nonce]
    # The next regular announcement answers no query.
    assert answering.answers() == [NO_NONCE]


def test_query_that_is_sent_again_is_not_answered() -> None:
    answering = Answering()
    first, later = query(1), query(1, 2)
    assert answering.answers(first, first) == [first.nonce]
    assert answering.answers(first, later) == [later.nonce]


def test_many_queries_of_a_window_cost_few_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "MOST_ANSWERS", 3)
    assert len(Answering().answers(*map(query, range(1, 10)))) == 3


def test_record_is_kept_while_two_announcements_in_a_row_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda least, most: most)
    announcing = Answering().node
    announcing._announce_at = float("-inf")
    announcing._act()
    longest = announcing._announce_at - announcing._announced_at
    clock = FakeClock()
    others = LanMembers(clock=clock, wall_clock=lambda: 0.0)
    [body] = bodies_of([RECORD])
    others.take(LanDatagram(ANNOUNCE, 0, b"a" * 16, 1, NO_NONCE, body))
    # The third arrives in the turn after it was sent.
    clock.advance(3 * longest + TURN_SECONDS)
    others.expire()
    assert others.services() == [RECORD[0]]


def test_a_record_that_changes_is_announced_before_each_goodbye_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node, "GOODBYE_SECONDS", 0.0)
    keys: Any = SimpleNamespace(value={})
    changing = LanNode(keys, None)
    changing.start = changing._wake = lambda: None  # type: ignore[method-assign]
    changing._join_at = float("inf")
    changing._query_at = []
    sent: list[tuple[int, list[tuple[str, bytes]]]] = []
    changing._send = lambda kind, records, nonce: sent.append((kind, list(records)))  # type: ignore[method-assign]
    changing.publish("arith", b"before")
    changing._act()
    changing.replace("arith", b"before", b"after")
    for _ in range(4):
        changing._act()
    before, after = [("arith", b"before")], [("arith", b"after")]
    pair = [(ANNOUNCE, after), (GOODBYE, before)]
    # The first time the regular announcement is due as well.
    assert sent == [(ANNOUNCE, before), *pair, (ANNOUNCE, after), *pair, *pair]
    changing.withdraw("arith", b"after")
    changing._act()
    assert sent[-1] == (GOODBYE, after)


class Hearing:
    """A node that has asked once, and hears no answer to that."""

    def __init__(self) -> None:
        keys: Any = SimpleNamespace(value={})
        self.node = LanNode(keys, None)
        self.node.start = lambda: None  # type: ignore[method-assign]
        self.node._settled_at = time.monotonic() - 1
        self.node._confirmed_at = time.monotonic() + 60

    def hear(self, instance: bytes, service: str) -> None:
        with self.node.changed:
            [body] = bodies_of([(service, RECORD[1])])
            self.node.members.take(
                LanDatagram(ANNOUNCE, int(time.time() * 1000), instance, 1, NO_NONCE, body)
            )
            self.node._tell()


def test_list_of_services_is_given_after_the_answers_to_the_second_query() -> None:
    hearing = Hearing()
    # Its own announcements come back.
    hearing.hear(hearing.node._instance, "shop")
    answering = threading.Thread(target=hearing.hear, args=(b"a" * 16, "arith"))
    with hearing.node.changed:
        # The answer comes once the list waits.
        answering.start()
        assert sorted(LanBackend(hearing.node).list_services()) == ["arith", "shop"]
    answering.join()


def test_empty_list_of_a_service_is_given_after_the_answers_to_the_second_query() -> None:
    hearing = Hearing()
    hearing.hear(b"b" * 16, "shop")
    lookup = AnnouncedLookup(hearing.node)
    lookup.follow(frozenset({"arith"}), frozenset())
    answering = threading.Thread(target=hearing.hear, args=(b"a" * 16, "arith"))
    with hearing.node.changed:
        answering.start()
        found = lookup.fetch(0.0)
    assert len(found["arith"].entries) == 1
    answering.join()


def test_lookup_that_is_closed_waits_for_no_further_answer() -> None:
    hearing = Hearing()
    lookup = AnnouncedLookup(hearing.node)
    lookup.follow(frozenset({"arith"}), frozenset())
    closing = threading.Thread(target=lookup.close)
    with hearing.node.changed:
        closing.start()
        lookup.fetch(0.0)
    closing.join()
    assert time.monotonic() < hearing.node._confirmed_at
