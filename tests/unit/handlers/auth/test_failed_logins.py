"""Hosts whose callers present wrong tokens, and the definition of one host."""

from typing import Any

import pytest

from fastrpc.auth.verdict import Refusal
from fastrpc.endpoint import Address
from fastrpc.handlers.auth.failed_logins import FAILURE_SECONDS, MOST_FAILURES, PAUSE_SECONDS, FailedLogins
from fastrpc.peers.peer import Peer
from fastrpc.status import Status

WRONG = Refusal("its token is unknown")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def peer(address: str) -> Peer:
    return Peer(Address.parse(address), "bearer", "guessed")


def user(number: int) -> Peer:
    found = peer("unix:///run/shop")
    found._user = number
    return found


@pytest.fixture
def failed() -> Any:
    return FailedLogins(Clock())


@pytest.mark.parametrize(
    ("guessing", "same", "other"),
    [
        (peer("tcp://192.0.2.1:1"), peer("tcp://192.0.2.1:2"), peer("tcp://192.0.2.2:1")),
        (
            peer("tls://[2001:db8::1]:1"),
            peer("tls://[2001:db8::ffff:2]:1"),
            peer("tls://[2001:db8:0:1::1]:1"),
        ),
        (peer("tcp://[::ffff:192.0.2.1]:1"), peer("tcp://192.0.2.1:2"), peer("tcp://[::ffff:192.0.2.2]:1")),
        (user(1000), user(1000), user(1001)),
    ],
)
def test_wrong_tokens_delay_the_next_verdicts_of_their_host(
    failed: FailedLogins, guessing: Peer, same: Peer, other: Peer
) -> None:
    for _ in range(MOST_FAILURES):
        assert failed.pause_of(same) == 0
        failed.note(guessing, WRONG)
    assert failed.pause_of(same) == PAUSE_SECONDS
    assert failed.pause_of(other) == 0


def test_a_caller_who_changes_its_ipv6_address_is_counted_all_the_same(failed: FailedLogins) -> None:
    for number in range(MOST_FAILURES):
        failed.note(peer(f"tcp://[2001:db8::{number:x}]:1"), WRONG)
    assert failed.pause_of(peer("tcp://[2001:db8::ffff]:1")) == PAUSE_SECONDS


def test_wrong_tokens_are_forgotten_after_a_minute(failed: FailedLogins) -> None:
    guessing = peer("tcp://192.0.2.1:1")
    for _ in range(MOST_FAILURES):
        failed.note(guessing, WRONG)
    failed._clock.now += FAILURE_SECONDS + 1  # type: ignore[attr-defined]
    assert failed.pause_of(guessing) == 0


@pytest.mark.parametrize("status", [Status.UNAVAILABLE, Status.INTERNAL])
def test_tokens_that_could_not_be_verified_count_as_no_guess(failed: FailedLogins, status: Status) -> None:
    for _ in range(2 * MOST_FAILURES):
        failed.note(peer("tcp://192.0.2.1:1"), Refusal("the issuer is away", status))
    assert failed.pause_of(peer("tcp://192.0.2.1:1")) == 0
