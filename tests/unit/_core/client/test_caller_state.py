"""The state that a client on asyncio and its views share: its loop, its process, its connections."""

import asyncio

import pytest

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.client.caller_state import CallerState
from tests.support.forking import in_child


class Runner:
    """Notes the first use, and refuses it once if the test says so."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.loops: list[asyncio.AbstractEventLoop] = []

    def first_use(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loops.append(loop)
        if self.refuses:
            self.refuses = False
            raise ValueError("the registry is not there")


def state_of(runner: Runner) -> CallerState:
    return CallerState(runner, lambda *_: None, RetryBudget())  # type: ignore[arg-type, return-value]


async def used(state: CallerState) -> None:
    state.use()


def test_without_a_loop_it_is_refused() -> None:
    state = state_of(Runner())
    with pytest.raises(RuntimeError, match="Client"):
        state.use()
    assert state.loop is None


async def test_the_first_use_binds_it_to_its_loop() -> None:
    runner = Runner()
    state = state_of(runner)
    for _ in range(2):
        state.use()
    assert runner.loops == [asyncio.get_running_loop()] == [state.loop]


async def test_a_first_use_that_fails_may_be_repeated() -> None:
    runner = Runner(refuses=True)
    state = state_of(runner)
    with pytest.raises(ValueError, match="not there"):
        state.use()
    assert state.loop is None
    state.use()
    assert len(runner.loops) == 2


async def test_another_loop_is_refused() -> None:
    state = state_of(Runner())
    state.use()

    def elsewhere() -> None:
        asyncio.run(used(state))

    with pytest.raises(RuntimeError, match="loop"):
        await asyncio.to_thread(elsewhere)


def test_the_child_of_a_fork_is_refused() -> None:
    state = state_of(Runner())
    asyncio.run(used(state))
    assert not state.is_of_parent

    def use() -> None:
        assert state.is_of_parent
        with pytest.raises(RuntimeError, match="used before the fork"):
            asyncio.run(used(state))

    in_child(use)


def test_a_state_that_was_not_used_may_be_used_in_a_child() -> None:
    state = state_of(Runner())

    def use() -> None:
        assert not state.is_of_parent
        asyncio.run(used(state))

    in_child(use)


def test_connections_are_engines_that_make_calls() -> None:
    state = state_of(Runner())
    state.set_connections([])
    with pytest.raises(TypeError, match="a connection is 1, it must be an Engine"):
        state.set_connections([1])
