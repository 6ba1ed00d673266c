"""The common parts of all tests: the scale of a run and its printed facts."""

import faulthandler
import functools
import gc
import logging
import math
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from tests.support import unpickling
from tests.support.dealt_files import DealtFiles, DealtRun, is_dealt, tell_less
from tests.support.inherited_signals import catch_ignored
from tests.support.left_bytes import LeftBytes
from tests.support.pairwise import left_out
from tests.support.planted import told
from tests.support.source_tree import tree

SCALE = float(os.environ.get("FASTRPC_TEST_SCALE", "1"))

#: The seed of random inputs. With a seed a run tries all inputs, different ones for each seed. Without a seed a normal
#: run tries the same share of them each time, so that a failure belongs to the change at hand.
SEED = int(os.environ["FASTRPC_TEST_SEED"]) if "FASTRPC_TEST_SEED" in os.environ else None

#: The shares of its random inputs, and of hypothesis' examples, that a test tries in a normal run; a longer one tries
#: all, times its scale.
SHARE_OF_EXAMPLES = 0.15
SHARE = 0.05

#: Whether this run tries only these shares, and of the cases of a test those that `tests.support.pairwise` chooses.
IS_SHARE = SCALE <= 1 and SEED is None

#: A test that takes this long hangs: the stacks of all threads are printed, and the run ends.
HANG_SECONDS = float(os.environ.get("FASTRPC_TEST_HANG_SECONDS", 300 * max(1.0, SCALE)))

#: Counters of methods that may be left to the next file of tests: a process has 4,096, and figures read all of them.
MOST_COUNTERS = 200

#: How often the guard against that is set anew. Pytest's own is set for every test, and each time starts and ends a
#: thread, for which a busy machine takes milliseconds.
GUARD_SECONDS = 60.0


@functools.cache
def slow_tests() -> frozenset[str]:
    """Return the names of the tests that `make test` leaves out; `ci/slow_tests` finds them."""
    return frozenset((Path(__file__).parent / "slow_tests.txt").read_text(encoding="utf-8").split())


class Scale:
    """How large the tests of this run are: 1 for every change, more for `make soak`."""

    def __init__(self, factor: float, seed: int = 0) -> None:
        self.factor = factor
        self._seed = seed

    def __call__(self, amount: int, *, least: int = 1) -> int:
        """Return `amount` at this scale, but not less than `least`."""
        return max(least, math.ceil(amount * self.factor))

    def inputs(self, amount: int, *, share: float = SHARE) -> int:
        """Return how many of `amount` random inputs to try: a share of them in a normal run, all in a longer one."""
        return self(round(amount * share)) if IS_SHARE else self(amount)

    def seeds(self, amount: int) -> range:
        """Return a seed for each of the random inputs to try; a run with its own seed gets different ones."""
        first = self._seed * 1_000_003
        return range(first, first + self.inputs(amount))

    def random(self, number: int) -> random.Random:
        """Return a source of random inputs; its number makes it independent of the sources of other tests."""
        return random.Random(self._seed * 1_000_003 + number)


@pytest.fixture(scope="session")
def scale() -> Scale:
    """Sizes tests: `scale(10_000)` is 10,000 in a normal run and more in a longer one."""
    return Scale(SCALE, SEED or 0)


@pytest.fixture(scope="module")
def forgotten_trees() -> Iterator[None]:
    """Let the syntax trees that a file of tests has read go: the collector would look at them in each later test."""
    yield
    tree.cache_clear()


class Turns:
    """Cleans up between files and tests. As fixtures for all tests these would cost more than many of the tests."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._audit = logging.getLogger("fastrpc.audit")

    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Begin a file: keep modules, reports and caches out of the collector, which would look at them in each test.

        What a test makes itself is younger, and is collected as usual.
        """
        if item.path != self._path:
            self._path = item.path
            leave_room_for_counters()
            gc.collect()
            gc.freeze()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Generator[None]:
        """Take back the level that a server with operators gives the audit: it lasts as long as the process."""
        try:
            return (yield)
        finally:
            if self._audit.level:
                self._audit.setLevel(logging.NOTSET)


def leave_room_for_counters() -> None:
    """Leave the tests of a file places for counters: after random names of methods, further ones count as `_other`."""
    # Not imported unless a test did so: the program of a test without the libraries that sanitizers need could not.
    counting = sys.modules.get("fastrpc._core.base.histogram")
    if counting is not None and len(counting.default_registry) > MOST_COUNTERS:
        from fastrpc_harness.counters import forget_counters

        forget_counters()


def pytest_configure(config: pytest.Config) -> None:
    watch_unpickling(config)
    config.pluginmanager.register(LeftBytes())
    config.pluginmanager.register(Turns())
    worker = getattr(config, "workerinput", {})
    if "others" in worker:
        config.pluginmanager.register(DealtFiles(worker["others"], takes_rest=worker["takes_rest"]))
        tell_less(config)
    elif is_dealt(config):
        config.pluginmanager.register(DealtRun(config))
    catch_ignored()
    hypothesis.settings.register_profile(
        "fastrpc",
        deadline=None,
        derandomize=IS_SHARE,
        max_examples=max(10, round(100 * SCALE * (SHARE_OF_EXAMPLES if IS_SHARE else 1))),
        print_blob=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("fastrpc")


class UnpicklingGuard:
    """Fails the run if anything was unpickled, in whichever of its processes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Look once all processes of the run have ended."""
        if self._path.exists() and self._path.stat().st_size:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the seed of the run."""
        if self._path.exists():
            for line in dict.fromkeys(self._path.read_text().splitlines()):
                terminalreporter.write_line(f"unpickled: {line}", red=True)

    def pytest_unconfigure(self) -> None:
        self._path.unlink(missing_ok=True)


def watch_unpickling(config: pytest.Config) -> None:
    """Note the unpickled classes; the first process of the run names the file, and reads it."""
    if unpickling.NOTED not in os.environ:
        descriptor, path = tempfile.mkstemp(prefix="fastrpc-unpickled-")
        os.close(descriptor)
        os.environ[unpickling.NOTED] = path
        config.pluginmanager.register(UnpicklingGuard(Path(path)))
    unpickling.watch()


class HangGuard:
    """Ends the run in a test that hangs."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._renewed = -math.inf

    def pytest_runtest_setup(self) -> None:
        """Let the test that starts take `HANG_SECONDS`, or up to `GUARD_SECONDS` more."""
        now = time.monotonic()
        if now > self._renewed + GUARD_SECONDS:
            self._renewed = now
            faulthandler.dump_traceback_later(HANG_SECONDS + GUARD_SECONDS, file=self._descriptor, exit=True)

    def pytest_sessionfinish(self) -> None:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    # Standard error as it was before pytest captures it.
    guard = HangGuard(session.config.stash[fault_handler_stderr_fd_key])
    session.config.pluginmanager.register(guard)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that printed or logged a secret which tests planted."""
    report = yield
    if report.when == "teardown" and not report.failed:
        found = told(report.sections)
        if found:
            report.outcome = "failed"
            report.longrepr = f"a planted secret was told: {', '.join(found)}"
    return report


def pytest_collection() -> None:
    # The collector would look at the thousands of tests again and again, and find nothing to free.
    gc.disable()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests that take long."""
    if item.nodeid.partition("[")[0] in slow_tests():
        item.add_marker("slow")


# Behind the choice of the command line: a case that it names is tried.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if find_spec("lz4") is None:
        for item in items:
            # As a parameter, or in the test's own name.
            if "lz4" in item.name:
                item.add_marker(pytest.mark.skip(reason="there is no lz4 for this CPython"))
    if IS_SHARE:
        others = left_out(items)
        config.hook.pytest_deselected(items=list(others))
        items[:] = [item for item in items if item not in others]


def pytest_collection_finish() -> None:
    """Keep the thousands of collected tests out of the collector: a look at them all holds a loop for a second."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_report_header(config: pytest.Config) -> str:
    build = os.environ.get("FASTRPC_BUILD", "release")
    seed = "" if SEED is None else f", seed {SEED}"
    return f"fastrpc: test scale {SCALE:g}{seed}, {build} build, {os.cpu_count()} cores, {platform.machine()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # The header is left out by -q; the scale is part of the result.
    seed = "" if SEED is None else f", FASTRPC_TEST_SEED={SEED}"
    terminalreporter.write_line(f"fastrpc: test scale {SCALE:g}{seed}")
