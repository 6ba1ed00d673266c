"""Deals the files of tests to the workers of `pytest -n N --dist each`, so that each collects and runs its own.

Under the other modes of xdist every worker collects all tests, which takes a quarter of the processor time of a run.
`each` gives every worker all tests that it has collected, and does not compare.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

__all__ = ["DealtFiles", "DealtRun", "dealt"]

TESTS = Path(__file__).parents[1]


def dealt(sizes: dict[str, int], workers: int) -> list[frozenset[str]]:
    """Deal files by their sizes, which tell well enough how long their tests take; always in the same way."""
    hands: list[list[str]] = [[] for _ in range(workers)]
    held = [0] * workers
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        least = held.index(min(held))
        hands[least].append(name)
        held[least] += sizes[name]
    return list(map(frozenset, hands))


class DealtFiles:
    """Leaves a worker the files that are dealt to it."""

    def __init__(self, worker: int, workers: int) -> None:
        files = {str(path): path.stat().st_size for path in TESTS.rglob("test_*.py")}
        self._others = frozenset(files) - dealt(files, workers)[worker]

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if str(collection_path) in self._others else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out the tests of files that the command line names, which pytest collects in any case."""
        others: Sequence[pytest.Item] = [item for item in items if str(item.path) in self._others]
        if others:
            config.hook.pytest_deselected(items=others)
            items[:] = [item for item in items if str(item.path) not in self._others]


class DealtRun:
    """Counts the tests of all workers, in the process that starts them: xdist takes those of one worker for all."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._collected = 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        self._collected += len(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """Set it before the progress of a test is shown, and before the end, where 0 would be a failure."""
        self._session.testscollected = self._collected
