import asyncio
import itertools
import os
import threading
from typing import Any

import pytest

from bench.compare.load import (
    AsyncOperation,
    BlockingOperation,
    WrongAnswerError,
    drive_tasks,
    drive_threads,
)
from bench.compare.measurement import LoadOrder, percentile


def order_for(workload: str) -> LoadOrder:
    return LoadOrder(
        address="", workload=workload, warm_seconds=0.01, seconds=0.1, server_processes=(os.getpid(),)
    )


class Echo:
    """Counts concurrent calls; answers as the workload expects."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.calls = 0
        self.in_flight = 0
        self.most_in_flight = 0

    async def call(self) -> Any:
        self.calls += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)
            return self._answer
        finally:
            self.in_flight -= 1


@pytest.mark.parametrize(("workload", "in_flight"), [("W1", 1), ("W2", 64), ("W2x512", 512)])
async def test_so_many_tasks_are_in_flight_and_no_more(workload: str, in_flight: int) -> None:
    echo = Echo(b"x" * 32)
    measurement = await drive_tasks(AsyncOperation(echo.call), order_for(workload))
    assert echo.most_in_flight == in_flight
    assert echo.in_flight == 0
    assert 0 < measurement.calls < echo.calls


async def test_a_batch_counts_all_its_calls() -> None:
    echo = Echo([b"x" * 32] * 512)
    measurement = await drive_tasks(AsyncOperation(echo.call), order_for("many"))
    assert measurement.calls % 512 == 0
    assert 0 < measurement.calls <= echo.calls * 512


async def test_samples_spread_over_the_callers_when_each_answers_once() -> None:
    answered = itertools.count()

    async def call() -> bytes:
        if next(answered) > 64:
            await asyncio.sleep(0.02)
        return b"x" * 32

    measurement = await drive_tasks(AsyncOperation(call), order_for("W2"))
    assert 0 < measurement.samples < measurement.calls


async def test_a_wrong_answer_ends_the_load() -> None:
    echo = Echo(b"something else")
    with pytest.raises(WrongAnswerError, match="W2: expected b'xxx"):
        await drive_tasks(AsyncOperation(echo.call), order_for("W2"))


async def test_plain_turns_the_answer_into_the_expected_value() -> None:
    echo = Echo("42")
    assert (await drive_tasks(AsyncOperation(echo.call, int), order_for("mul"))).calls > 0


async def test_a_failing_call_ends_the_load() -> None:
    calls = itertools.count()

    async def call() -> bytes:
        if next(calls) == 100:
            raise ConnectionError("cut")
        await asyncio.sleep(0)
        return b"x" * 32

    with pytest.raises(ExceptionGroup) as caught:
        await drive_tasks(AsyncOperation(call), order_for("W2"))
    assert caught.group_contains(ConnectionError, match="cut")


def test_each_thread_has_a_separate_operation() -> None:
    callers = set()

    def connect() -> BlockingOperation:
        callers.add(threading.get_ident())
        return BlockingOperation(lambda: b"x" * 32)

    measurement = drive_threads(connect, order_for("W2"))
    assert len(callers) == 64
    assert measurement.calls > 0
    assert measurement.samples > 0


async def test_a_window_of_tasks_lasts_until_a_call_has_ended() -> None:
    calls = itertools.count()

    async def call() -> bytes:
        if 0 < next(calls) < 200:
            await asyncio.sleep(0.15)  # Longer than the window.
        return b"x" * 32

    measurement = await drive_tasks(AsyncOperation(call), order_for("W2"))
    assert measurement.calls > 0
    assert measurement.seconds > 0.1


def test_a_window_of_threads_lasts_until_a_call_has_ended() -> None:
    over = threading.Event()

    def connect() -> BlockingOperation:
        calls = itertools.count()

        def call() -> bytes:
            if next(calls):
                over.wait(0.15)
            return b"x" * 32

        return BlockingOperation(call)

    measurement = drive_threads(connect, order_for("W2"))
    assert measurement.calls > 0
    assert measurement.seconds > 0.1


def test_a_failing_thread_ends_the_load() -> None:
    def connect() -> BlockingOperation:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(ConnectionRefusedError):
        drive_threads(connect, order_for("W2"))


def test_processor_time_is_of_the_named_process() -> None:
    def connect() -> BlockingOperation:
        return BlockingOperation(lambda: b"x" * 32)

    measurement = drive_threads(connect, order_for("W1"))
    # This process is named as the server here, so both accounts are the same.
    assert measurement.server_cpu_seconds == pytest.approx(measurement.client_cpu_seconds, rel=0.2)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_percentile_is_a_value_that_occurred(share: float, expected: int) -> None:
    assert percentile(range(1, 101), share) == pytest.approx(expected, abs=1)
    assert percentile([], share) == 0
