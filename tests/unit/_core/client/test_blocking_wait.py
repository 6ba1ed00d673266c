"""The guard against a use of a blocking client inside itself."""

import threading

import pytest

from fastrpc._core.client.blocking_wait import ReentryGuard


def test_a_thread_that_waits_inside_is_refused_until_it_has_left() -> None:
    guard = ReentryGuard()
    guard.refuse()
    with guard, pytest.raises(RuntimeError, match="a SyncClient was used inside itself"):
        guard.refuse()
    guard.refuse()


def test_another_client_may_be_used_in_the_wait_of_one() -> None:
    first, second = ReentryGuard(), ReentryGuard()
    with first, second:
        with pytest.raises(RuntimeError):
            first.refuse()
        with pytest.raises(RuntimeError):
            second.refuse()
    with second:
        first.refuse()


def test_another_thread_may_use_the_client_meanwhile() -> None:
    guard = ReentryGuard()
    refused: list[BaseException] = []

    def use() -> None:
        try:
            guard.refuse()
        except RuntimeError as error:
            refused.append(error)

    with guard:
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert refused == []


def test_an_exit_without_a_stay_ends_no_stay_of_another() -> None:
    guard, other = ReentryGuard(), ReentryGuard()
    with guard:
        other.__exit__(None, None, None)
        with pytest.raises(RuntimeError):
            guard.refuse()
    guard.__exit__(None, None, None)
    guard.refuse()
