"""Asking a registry again and again."""

import itertools
import logging
from pathlib import Path
from typing import Any

import pytest

from fastrpc import StoreError
from fastrpc.registries import AddressPolicy
from fastrpc.registries.base.accepting import ListAcceptor, RecordFilter
from fastrpc.registries.base.backend import Listing
from fastrpc.registries.base.cache import CacheFile
from fastrpc.registries.base.poller import (
    BACKOFF,
    LONGEST_REST_SECONDS,
    MOST_PAUSE_SECONDS,
    WAIT_SECONDS,
    Poller,
    WakeFlag,
)
from fastrpc.registries.base.record import RecordError
from fastrpc.registries.base.rules import CONFIRM_SECONDS, LOOK_SECONDS, SETTLE_SECONDS
from fastrpc.registries.base.watch import Channel
from fastrpc.testing import FakeClock
from tests.support.fake_registry import FakeLookup, away, entries


class Driven:
    """A feed that a test drives step by step."""

    def __init__(self, *answers: Any, cache: CacheFile | None = None) -> None:
        self.clock = FakeClock()
        self.worked = 0.0
        self.channel = Channel(itertools.count(1))
        self.lookup = FakeLookup(*answers)
        acceptor = ListAcceptor("arith", self.channel, policy=AddressPolicy(), cache=cache, clock=self.clock)
        self.poller = Poller(
            acceptor,
            self.lookup,
            clock=self.clock,
            work_clock=lambda: self.worked,
            uniform=lambda low, high: (low + high) / 2,
        )

    def step(self, seconds: float = 0.0) -> float:
        self.clock.advance(seconds)
        return self.poller.step()

    @property
    def ports(self) -> list[int]:
        assert self.channel.latest is not None
        return [endpoint.address.port for endpoint in self.channel.latest.endpoints]


def test_first_question_does_not_wait_and_later_ones_do() -> None:
    driven = Driven(entries(1))
    driven.step()
    driven.step()
    assert driven.lookup.waits == [0.0, WAIT_SECONDS]


def test_list_is_published_in_the_order_of_addresses_each_once() -> None:
    driven = Driven([*entries(3, 1, 2), *entries(1)])
    driven.step()
    assert driven.ports == [1, 2, 3]


def test_a_watcher_that_a_new_list_wakes_sees_no_error_of_the_outage_before_it() -> None:
    driven = Driven(entries(1), away(), entries(1, 2))
    driven.step()
    driven.step(WAIT_SECONDS)
    assert driven.channel.error is not None
    seen: list[tuple[int, bool]] = []
    driven.channel.add_listener(lambda: seen.append((len(driven.ports), driven.channel.error is None)))
    driven.step(WAIT_SECONDS)
    assert seen == [(2, True)]


def test_unchanged_list_is_published_once() -> None:
    driven = Driven(entries(1))
    driven.step()
    before = driven.channel.latest
    driven.step()
    assert driven.channel.latest is before


def test_snapshots_have_growing_versions() -> None:
    driven = Driven(entries(1), entries(1, 2))
    driven.step()
    driven.step()
    assert driven.channel.latest is not None
    assert driven.channel.latest.version == 2


def test_failure_keeps_the_last_list_and_is_reported() -> None:
    driven = Driven(entries(1), away())
    driven.step()
    driven.step()
    assert driven.ports == [1]
    assert str(driven.channel.error) == "connection refused"


def test_pauses_grow_up_to_a_limit_while_the_registry_is_unreachable() -> None:
    driven = Driven(away())
    pauses = [driven.step() for _ in range(12)]
    assert pauses[0] == pytest.approx(BACKOFF.first)
    assert pauses[1] == pytest.approx(BACKOFF.first * BACKOFF.factor)
    assert pauses[-1] == pytest.approx(BACKOFF.longest)


def test_question_after_a_failure_does_not_wait() -> None:
    driven = Driven(entries(1), away(), entries(1))
    for _ in range(3):
        driven.step()
    assert driven.lookup.waits[-2:] == [WAIT_SECONDS, 0.0]


def test_outage_and_return_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastrpc.registry")
    driven = Driven(entries(1), away(), away(), away(), entries(1))
    for _ in range(6):
        driven.step(1.0)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            "arith: the registry is unreachable, the last list (1 endpoints) is used: connection refused",
        ),
        ("INFO", "arith: the registry answers again after 3.0 s"),
    ]


def test_defect_of_a_backend_does_not_end_the_feed(caplog: pytest.LogCaptureFixture) -> None:
    driven = Driven(ZeroDivisionError("oops"), entries(1))
    driven.step()
    driven.step()
    assert driven.ports == [1]
    assert caplog.records[0].exc_info is not None


def test_empty_list_is_looked_at_again_without_waiting() -> None:
    driven = Driven(entries(1, 2), [])
    driven.step()
    assert driven.step() == pytest.approx(CONFIRM_SECONDS)
    assert driven.ports == [1, 2]
    driven.step(CONFIRM_SECONDS)
    assert driven.ports == []
    assert driven.lookup.waits[-1] == 0.0


def test_list_of_a_recovered_registry_removes_no_endpoint_before_it_settles() -> None:
    driven = Driven(entries(1, 2), away(), [])
    driven.step()
    driven.step()
    driven.step()
    assert driven.ports == [1, 2]
    for _ in range(int(SETTLE_SECONDS / LOOK_SECONDS)):
        assert driven.ports == [1, 2]
        driven.step(LOOK_SECONDS)
    driven.step(CONFIRM_SECONDS)
    assert driven.ports == []


def test_restarted_registry_counts_as_a_recovered_one() -> None:
    driven = Driven(entries(1, 2), Listing([], is_restart=True), [])
    for _ in range(2):
        driven.step()
    driven.step(CONFIRM_SECONDS)
    driven.step(CONFIRM_SECONDS)
    assert driven.ports == [1, 2]


def test_settling_list_is_watched_for_changes_meanwhile() -> None:
    driven = Driven(entries(1, 2), away(), entries(1))
    for _ in range(4):
        driven.step()
    assert driven.lookup.waits[-1] == pytest.approx(LOOK_SECONDS)


def test_a_wait_in_which_nothing_was_heard_is_no_answer() -> None:
    silence = Listing(entries(1), is_repeated=True)
    driven = Driven(entries(1, 2), away(), entries(1), silence)
    for _ in range(3):
        driven.step()
    for _ in range(20):
        assert driven.step(LOOK_SECONDS) == 0.0
        assert driven.lookup.waits[-1] in (LOOK_SECONDS, 0.0)
    assert driven.ports == [1, 2]


def test_connection_that_was_lost_between_two_queries_counts_as_an_outage() -> None:
    driven = Driven(entries(1, 2), Listing([], was_away=True), [])
    for _ in range(2):
        driven.step()
    for _ in range(3):
        driven.step(CONFIRM_SECONDS)
    assert driven.ports == [1, 2]


def test_pause_of_the_answer_is_kept() -> None:
    driven = Driven(Listing(entries(1), pause_seconds=7.0))
    assert driven.step() == 7.0


def test_unchanged_answers_are_polled_less_and_less_often() -> None:
    driven = Driven(entries(1))
    assert driven.step() <= MOST_PAUSE_SECONDS
    pauses = [driven.step() for _ in range(6)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(0.5)


def test_bad_records_are_left_out_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    driven = Driven(entries(1, bad="it is nonsense"))
    driven.step()
    driven.step()
    assert driven.ports == [1]
    assert [record.getMessage() for record in caplog.records] == [
        "arith: 'id-bad' is ignored: it is nonsense"
    ]


def test_addresses_against_the_policy_are_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    metadata = entries(80)[0][1]
    metadata.address.host = "169.254.169.254"
    driven = Driven([*entries(1), ("id-evil", metadata)])
    driven.step()
    assert driven.ports == [1]
    assert "'id-evil' is ignored: 169.254.169.254 is in 169.254.0.0/16" in caplog.text


def test_endless_list_is_cut(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("fastrpc.registries.base.accepting.MOST_ENDPOINTS", 3)
    driven = Driven(entries(1, 2, 3, 4, 5))
    driven.step()
    assert driven.ports == [1, 2, 3]
    assert "only the first 3 of 5" in caplog.text


def test_cache_is_used_while_the_registry_is_unreachable_at_the_start(tmp_path: Path) -> None:
    cache = CacheFile(tmp_path / "lists")
    Driven(entries(1, 2), cache=cache).step()
    driven = Driven(away(), entries(2, 3), cache=cache)
    driven.step()
    assert driven.ports == [1, 2]
    assert driven.channel.latest is not None
    assert driven.channel.latest.is_cached
    driven.step()
    assert driven.ports == [1, 2, 3]
    assert not driven.channel.latest.is_cached


def test_cached_list_is_dropped_once_the_registry_confirms_another_one(tmp_path: Path) -> None:
    cache = CacheFile(tmp_path / "lists")
    Driven(entries(1, 2), cache=cache).step()
    driven = Driven(entries(3), cache=cache)
    driven.step()
    assert driven.ports == [1, 2, 3]
    driven.step(CONFIRM_SECONDS)
    assert driven.ports == [3]


def test_first_answer_that_is_empty_does_not_undo_the_list_of_the_last_run(tmp_path: Path) -> None:
    cache = CacheFile(tmp_path / "lists")
    Driven(entries(1, 2), cache=cache).step()
    driven = Driven([], entries(2), cache=cache)
    assert driven.step() == pytest.approx(CONFIRM_SECONDS)
    assert driven.ports == [1, 2]
    driven.step(CONFIRM_SECONDS)
    assert driven.ports == [2]


def test_first_answer_that_is_empty_is_published_at_the_second_look() -> None:
    driven = Driven([])
    assert driven.step() == pytest.approx(CONFIRM_SECONDS)
    assert driven.channel.latest is None
    driven.step(CONFIRM_SECONDS)
    assert driven.ports == []
    assert driven.lookup.waits == [0.0, 0.0]


def test_cached_list_that_the_registry_confirms_is_published_as_its_own(tmp_path: Path) -> None:
    cache = CacheFile(tmp_path / "lists")
    Driven(entries(1), cache=cache).step()
    driven = Driven(away(), entries(1), cache=cache)
    driven.step()
    driven.step()
    assert driven.channel.latest is not None
    assert not driven.channel.latest.is_cached


def test_empty_list_does_not_replace_the_one_in_the_file(tmp_path: Path) -> None:
    cache = CacheFile(tmp_path / "lists")
    driven = Driven(entries(1), [], cache=cache)
    driven.step()
    driven.step()
    driven.step(CONFIRM_SECONDS)
    assert driven.ports == []
    assert len(cache.load("arith")) == 1


def test_flag_that_was_cleared_wakes_again() -> None:
    flag = WakeFlag()
    for _ in range(2):
        flag.set()
        flag.wait(0)
        assert flag.is_set()
        flag.clear()
        assert not flag.is_set()


def test_stopped_poller_publishes_no_more_lists() -> None:
    driven = Driven(entries(1))
    stop = WakeFlag()

    def fetch(wait_seconds: float) -> Listing:
        stop.set()
        raise away()

    driven.lookup.fetch = fetch  # type: ignore[method-assign]
    driven.poller.run(stop)
    assert driven.channel.latest is None
    assert driven.channel.error is None


def test_texts_of_a_registry_are_logged_on_one_line_without_control_characters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    evil = "\x1b[2J\x9b31m\r\n\u202e\u2066evil\u200b"
    driven = Driven(StoreError(evil), [(evil, RecordError(evil))])
    driven.step()
    driven.step()
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(texts) == 2
    assert all(text.isprintable() and "evil" in text for text in texts)


def test_list_that_took_long_is_followed_by_a_rest() -> None:
    driven = Driven(entries(1), entries(1, 2), entries(1, 2, 3))
    driven.step()
    for seconds, pause in ((0.002, 0.06), (0.05, 1.0), (5.0, LONGEST_REST_SECONDS)):
        fetch = driven.lookup.fetch

        def slow(wait: float, seconds: float = seconds, fetch: Any = fetch) -> Listing:
            driven.worked += seconds
            driven.clock.advance(1.0)
            return fetch(wait)  # type: ignore[no-any-return]

        driven.lookup.fetch = slow  # type: ignore[method-assign]
        assert driven.step() == pytest.approx(pause)
        driven.lookup.fetch = fetch  # type: ignore[method-assign]


def test_address_of_an_endpoint_that_stays_is_checked_once() -> None:
    checked: list[str] = []

    class Noting(AddressPolicy):
        def check(self, address: Any) -> None:
            checked.append(str(address))
            super().check(address)

    record_filter = RecordFilter("arith", Noting())
    first, second = entries(1), entries(2)
    for found in (first, first, [*first, *second]):
        record_filter(found)
    assert checked == ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2"]
