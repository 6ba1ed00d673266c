"""A file of tests fails that leaves bytes held by servers of its process."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.left_bytes import LeftBytes

BUDGET = "fastrpc._core.server.memory_budget"


def item_of(file: str, name: str) -> Any:
    return SimpleNamespace(nodeid=f"{file}::{name}", path=Path(file))


FIRST, SECOND, OTHER = item_of("a.py", "one"), item_of("a.py", "two"), item_of("b.py", "one")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say how many bytes are held at each look; the last number stays."""
    looks: list[int] = []
    budget = SimpleNamespace(bytes_held=lambda: looks.pop(0) if len(looks) > 1 else looks[0])
    monkeypatch.setitem(sys.modules, BUDGET, budget)

    def say(*numbers: int) -> None:
        looks[:] = numbers

    return say


def end(plugin: LeftBytes, item: Any, nextitem: Any) -> None:
    wrapper = plugin.pytest_runtest_teardown(item, nextitem)
    next(wrapper)
    with pytest.raises(StopIteration):
        next(wrapper)


def failure_of(plugin: LeftBytes, item: Any, nextitem: Any) -> str:
    wrapper = plugin.pytest_runtest_teardown(item, nextitem)
    next(wrapper)
    with pytest.raises(pytest.fail.Exception) as failed:
        next(wrapper)
    return str(failed.value)


@pytest.mark.parametrize("nextitem", [OTHER, None])
def test_file_that_leaves_bytes_fails_with_the_tests_since_which_they_are_held(
    held: Callable[..., None], nextitem: Any
) -> None:
    plugin = LeftBytes(0.02)
    held(7)
    end(plugin, FIRST, SECOND)
    failure = failure_of(plugin, SECOND, nextitem)
    assert failure.splitlines()[1:] == ["a.py::one: 7 bytes", "a.py::two: 7 bytes"]


def test_next_file_begins_without_state_of_the_last_one(held: Callable[..., None]) -> None:
    plugin = LeftBytes(0.02)
    held(7)
    failure_of(plugin, FIRST, OTHER)
    assert failure_of(plugin, OTHER, None).splitlines()[1:] == ["b.py::one: 7 bytes"]


def test_bytes_that_are_given_back_within_the_file_or_behind_it_are_none_of_them(
    held: Callable[..., None],
) -> None:
    plugin = LeftBytes(60)
    held(7)
    end(plugin, FIRST, SECOND)
    held(7, 7, 7, 0)
    end(plugin, SECOND, OTHER)
    held(0)
    end(plugin, OTHER, None)


def test_process_without_a_server_is_not_made_to_import_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, BUDGET, raising=False)
    end(LeftBytes(), FIRST, None)
    assert BUDGET not in sys.modules
