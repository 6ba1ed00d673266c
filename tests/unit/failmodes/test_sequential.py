"""Which fail modes let the client make the first attempt by itself."""

from typing import Any

import pytest

from fastrpc.failmodes import FailBackup, FailFast, FailMode, FailOver, FailTry
from fastrpc.failmodes.base import is_sequential


class Renamed(FailOver):
    """Has the `run` of its base."""


class Logged(FailOver):
    async def run(self, call: Any, pick: Any, attempt: Any) -> Any:
        return await super().run(call, pick, attempt)


class Own:
    async def run(self, call: Any, pick: Any, attempt: Any) -> Any:
        return await attempt(pick())


@pytest.mark.parametrize(
    "mode", [FailFast(), FailOver(), FailTry(), Renamed()], ids=lambda mode: type(mode).__name__
)
def test_modes_that_obey_attempts_are_sequential(mode: FailMode) -> None:
    assert is_sequential(mode)


@pytest.mark.parametrize("mode", [FailBackup(), Own(), Logged()], ids=lambda mode: type(mode).__name__)
def test_modes_with_a_run_of_their_own_are_not(mode: FailMode) -> None:
    assert not is_sequential(mode)


def test_a_run_put_on_one_object_counts() -> None:
    mode = FailOver()
    mode.run = Own().run  # type: ignore[method-assign]
    assert not is_sequential(mode)
