import io
from typing import Any

import pytest

from bench.compare.measurement import Measurement
from bench.compare.progress import CLEAR_LINE, Progress
from bench.compare.rounds import Outcome, Step
from bench.compare.workloads import WORKLOADS


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Peer:
    name = "fastrpc"


STEP = Step(1, WORKLOADS["W2"], Peer())  # type: ignore[arg-type]
DONE = Outcome(
    peer="fastrpc",
    workload="W2",
    round=1,
    measurement=Measurement(
        calls=400_000,
        seconds=1.0,
        client_cpu_seconds=1.0,
        server_cpu_seconds=1.0,
        p50_seconds=0.001,
        p99_seconds=0.001,
        p999_seconds=0.001,
        samples=1,
    ),
)
FAILED = Outcome(peer="fastrpc", workload="W2", round=1, error="OSError: gone")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def shown(output: io.StringIO, clock: Clock, *outcomes: Outcome, count: int = 3) -> str:
    progress = Progress(count, output, step_seconds=2.0, clock=clock)
    for outcome in outcomes:
        progress.begin(STEP)
        clock.now += 4.0
        progress.end(STEP, outcome)
    return output.getvalue()


def test_a_file_gets_a_line_per_measurement_with_the_remaining_time(clock: Clock) -> None:
    lines = shown(io.StringIO(), clock, DONE, DONE).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[1/3] round 1  W2 ")
    assert lines[0].endswith("400,000 calls/s  0:08 left")
    assert lines[1].endswith("0:04 left")
    assert CLEAR_LINE not in "".join(lines)


def test_a_terminal_gets_one_line_that_changes_and_goes(clock: Clock) -> None:
    text = shown(Terminal(), clock, DONE, DONE, count=2)
    assert "\n" not in text
    assert text.count(CLEAR_LINE) == 3
    assert text.endswith(CLEAR_LINE)
    assert "[1/2] round 1  W2" in text
    assert "0:04 left" in text


@pytest.mark.parametrize("output", [io.StringIO, Terminal])
def test_a_failure_stays_to_be_read(clock: Clock, output: Any) -> None:
    assert "failed: OSError: gone" in shown(output(), clock, FAILED).split("\n")[0]


def test_the_estimate_begins_with_a_guess_and_follows_the_pace(clock: Clock) -> None:
    progress = Progress(61, io.StringIO(), step_seconds=2.0, clock=clock)
    assert progress.remaining_seconds() == 122.0
    clock.now += 5.0
    progress.end(STEP, DONE)
    assert progress.remaining_seconds() == 300.0
