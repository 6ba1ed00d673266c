"""The state that a SyncClient and its views share: its process, its connections."""

from typing import Any

import pytest

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.client.blocking_state import BlockingState
from fastrpc._core.client.blocking_wait import ReentryGuard
from tests.support.forking import in_child


class Maker:
    """Gives a state its parts, and counts how often."""

    def __init__(self) -> None:
        self.state = BlockingState(1)
        self.state.remake = self.remake
        self.made = 0
        self.remake()

    def remake(self) -> None:
        self.made += 1
        nothing: Any = None
        self.state.take_parts(nothing, lambda *_: nothing, ReentryGuard(), RetryBudget())


def test_the_parts_of_a_state_are_made_again_once_in_the_child_of_a_fork() -> None:
    maker = Maker()
    before = maker.state.reentry
    maker.state.use()
    assert (maker.made, maker.state.is_of_parent) == (1, False)

    def use() -> None:
        assert maker.state.is_of_parent
        for _ in range(2):
            maker.state.use()
        assert (maker.made, maker.state.is_of_parent) == (2, False)
        assert maker.state.reentry is not before

    in_child(use)
    assert maker.state.reentry is before


def test_a_use_while_its_parts_are_made_anew_is_refused() -> None:
    maker = Maker()

    def use() -> None:
        maker.state.remake = maker.state.use
        with pytest.raises(RuntimeError, match="used inside itself"):
            maker.state.use()
        # The next use tries it again.
        maker.state.remake = maker.remake
        maker.state.use()

    in_child(use)


def test_a_thread_that_waits_inside_may_not_use_the_client() -> None:
    maker = Maker()
    with maker.state.reentry, pytest.raises(RuntimeError, match="inside itself"):
        maker.state.use()
    maker.state.use()


def test_a_list_with_a_missing_connection_is_refused() -> None:
    nothing: Any = None
    with pytest.raises(TypeError, match="a connection is None"):
        Maker().state.set_connections([[nothing]], None)
