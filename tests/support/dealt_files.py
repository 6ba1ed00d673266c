"""Deals the files of tests to the workers of `pytest -n N --dist each`, so that each collects and runs its own.

Under the other modes of xdist every worker collects all tests, which takes a quarter of the processor time of a run.
`each` has every worker run all tests that it has collected, and does not compare. It cannot end early, and the tests
that failed last may all be of one worker: with `-x`, `--maxfail` or `--lf` workers share all tests as in `worksteal`.

A worker of xdist sends six messages for a test: its start, three reports, its end, and that the next one may follow. To
pack, send, read and show them costs as much as pytest's part of a small test. Here it sends two.
"""

from collections.abc import Collection, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

__all__ = ["DealtFiles", "DealtRun", "dealt", "is_dealt", "tell_less"]

TESTS = Path(__file__).resolve().parents[1]

#: Fixtures that take longer are reported, for the list of the slowest.
SHOWN_SECONDS = 1.0


def is_dealt(config: pytest.Config) -> bool:
    """Return whether the process that starts the workers deals the files; change the mode of a run that it cannot."""
    option = config.option
    if getattr(option, "dist", "no") != "each" or not getattr(option, "numprocesses", None):
        return False
    if option.maxfail or getattr(option, "lf", False):
        option.dist = "worksteal"
        return False
    return True


def dealt(sizes: dict[str, int], workers: int) -> list[frozenset[str]]:
    """Deal files by their sizes, which tell well enough how long their tests take; always in the same way."""
    hands: list[list[str]] = [[] for _ in range(workers)]
    held = [0] * workers
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        least = held.index(min(held))
        hands[least].append(name)
        held[least] += sizes[name]
    return list(map(frozenset, hands))


class DealtRun:
    """Deals the files in the process that starts the workers, and counts their tests: xdist counts the tests of one."""

    def __init__(self, config: pytest.Config) -> None:
        workers = len(config.option.tx)
        self._config = config
        sizes = {str(path): path.stat().st_size for path in TESTS.rglob("test_*.py")}
        self._files = sorted(sizes)
        self._hands = dealt(sizes, workers)
        self._collected = 0
        self._lost: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker which files belong to the other workers."""
        number = int(node.workerinput["workerid"].removeprefix("gw")) % len(self._hands)
        node.workerinput["others"] = sorted(set(self._files) - self._hands[number])
        node.workerinput["takes_rest"] = number == 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        self._collected += len(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Note a worker that ended before its tests: xdist reports only the test under way."""
        if error:
            self._lost.append(f"{node.gateway.id}: {error}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        """Set the count before a test's progress is shown, and before the end, where 0 would be a failure.

        Behind it, where the line of progress is full, begin the next one, which pytest does at the end of a test.
        """
        self.session.testscollected = self._collected
        yield
        self._config.hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._lost:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._lost:
            terminalreporter.write_line(f"a worker was lost with its tests: {line}", red=True)


def tell_less(config: pytest.Config) -> None:
    """Make this worker send the outcome of a test, failed and slow steps around it, and the notice for the next one."""
    plugins = config.pluginmanager
    (worker,) = (plugin for plugin in plugins.get_plugins() if type(plugin).__name__ == "WorkerInteractor")

    class LessTold(type(worker)):  # type: ignore[misc]
        pytest_runtest_logstart = pytest_runtest_logfinish = None

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call" or not report.passed or report.duration > SHOWN_SECONDS:
                super().pytest_runtest_logreport(report)

    plugins.unregister(worker)
    worker.__class__ = LessTold
    plugins.register(worker)


class DealtFiles:
    """Leaves a worker the files that are dealt to it.

    Args:
        others: the paths of files that are dealt to other workers.
        takes_rest: whether this worker gets files that are dealt to no worker, such as benchmarks on the command line.
    """

    def __init__(self, others: Collection[str], *, takes_rest: bool) -> None:
        self._others = frozenset(others)
        self._takes_rest = takes_rest

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if str(collection_path.resolve()) in self._others else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out the tests of files that the command line names, which pytest collects in any case."""
        own = {item: self._is_own(item.path.resolve()) for item in items}
        if not all(own.values()):
            config.hook.pytest_deselected(items=[item for item in items if not own[item]])
            items[:] = [item for item in items if own[item]]

    def _is_own(self, path: Path) -> bool:
        is_dealt = path.is_relative_to(TESTS) and path.match("test_*.py")
        return str(path) not in self._others if is_dealt else self._takes_rest
