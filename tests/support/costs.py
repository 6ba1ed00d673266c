"""A plugin of pytest that notes the processor time of each test, for `ci/slow_tests`."""

import os
import resource
from collections.abc import Generator
from pathlib import Path

import pytest

__all__: list[str] = []

_noted: list[str] = []


def _spent() -> float:
    """Return the seconds of processor time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    before = _spent()
    result = yield
    _noted.append(f"{item.nodeid.partition('[')[0]}\t{_spent() - before:.6f}\n")
    return result


def pytest_sessionfinish() -> None:
    (Path(os.environ["FASTRPC_TEST_COSTS"]) / str(os.getpid())).write_text("".join(_noted), encoding="utf-8")
