"""The shared parts of the suites: a benchmark whose report has the time of one call."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

#: (work, calls it makes): run the work a few times and report it per call.
MeasurePerCall = Callable[[Callable[[], Any], int], None]


@pytest.fixture
def measure_per_call(benchmark: "BenchmarkFixture") -> MeasurePerCall:
    """Measure work that makes many calls; the time of one is `nanoseconds_per_call` in the extra info."""

    def measure(work: Callable[[], Any], calls: int) -> None:
        benchmark.pedantic(work, rounds=20, warmup_rounds=2)  # type: ignore[no-untyped-call]
        if benchmark.stats is not None:  # None with --benchmark-disable
            benchmark.extra_info["nanoseconds_per_call"] = round(
                benchmark.stats.stats.median / calls * 1e9, 1
            )

    return measure


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to begin without the plug-in that measures, or the compiled loops that no wheel has."""
    try:
        import pytest_benchmark  # noqa: F401

        import fastrpc_harness.hot_loops  # noqa: F401
    except ImportError as error:
        raise pytest.UsageError(
            f"the benchmarks need {error.name}, which is not there: in a checkout `make build` installs the plug-in "
            "pytest-benchmark and compiles fastrpc_harness; then run .venv/bin/python -m pytest bench, or make bench"
        ) from None


@pytest.hookimpl(trylast=True)  # Below the table of the plug-in.
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the cost of one call; the table above is about rounds of many calls."""
    session = getattr(config, "_benchmarksession", None)
    costs = {
        benchmark.fullname.partition("bench/")[2]: benchmark.extra_info["nanoseconds_per_call"]
        for benchmark in (session.benchmarks if session is not None else ())
        if "nanoseconds_per_call" in benchmark.extra_info
    }
    if costs:
        terminalreporter.section("nanoseconds per call, medians")
        for name, cost in costs.items():
            terminalreporter.write_line(f"{cost:>14,.1f}  {name}")
