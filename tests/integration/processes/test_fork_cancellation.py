"""The outcome of calls that `SyncClient.fork` cancels, if something else ends them at that moment."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import fastrpc
from fastrpc import DeadlineExceededError, SyncClient, method, service
from fastrpc.errors import FastRPCError
from fastrpc.testing import serving


@service("held")
class Held:
    """Answers once its gate is open."""

    def __init__(self, name: str, gate: threading.Event) -> None:
        self.asked = threading.Event()
        self._name = name
        self._gate = gate

    @method
    def ask(self) -> str:
        """Return the server's name."""
        self.asked.set()
        self._gate.wait(10)
        return self._name


class Watch:
    """An interceptor that keeps the outcome of the call to the slow server."""

    def __init__(self) -> None:
        self.outcome: Any = None
        self.has_ended = threading.Event()

    async def __call__(self, call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        outcome: Any = None
        try:
            outcome = await proceed(call)
        except BaseException as error:
            outcome = error
            raise
        finally:
            if outcome != "quick":
                self.outcome = outcome
                self.has_ended.set()
        return outcome


@contextmanager
def stopped_at_its_error(act: Callable[[], None]) -> Iterator[list[str]]:
    """Act once, in the middle of a cancellation by this thread: where the error of the cancelled call is made."""
    acted: list[str] = []

    def look(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code is FastRPCError.__init__.__code__ and not acted:
            acted.append(type(frame.f_locals["self"]).__name__)
            act()

    sys.setprofile(look)
    try:
        yield acted
    finally:
        sys.setprofile(None)


def outcome_of_the_slow_call(seconds: float, act: Callable[[Watch, threading.Event], None]) -> Any:
    """Fork a call to a quick and a slow server; return the outcome of the slow one's call, cancelled around `act`."""
    gate, watch = threading.Event(), Watch()
    slow_one = Held("slow", gate)
    with (
        # Answers once the slow one was asked too: before, its call would only be dropped.
        serving(Held("quick", slow_one.asked)) as quick,
        serving(slow_one) as slow,
        SyncClient([quick, slow], interceptors=[watch]) as client,
    ):
        try:
            with stopped_at_its_error(lambda: act(watch, gate)) as acted:
                assert client.with_options(timeout=seconds).fork(Held.ask) == "quick"
            assert acted == ["CallError"]
            assert watch.has_ended.wait(10)
            return watch.outcome
        finally:
            gate.set()


def test_call_whose_deadline_passes_while_it_is_cancelled_says_so() -> None:
    def let_the_time_pass(watch: Watch, _gate: threading.Event) -> None:
        assert watch.has_ended.wait(10)

    outcome = outcome_of_the_slow_call(1.0, let_the_time_pass)
    assert isinstance(outcome, DeadlineExceededError), outcome
    assert outcome.processed == "unknown"


def test_answer_that_comes_while_its_call_is_cancelled_is_kept() -> None:
    def let_the_answer_come(watch: Watch, gate: threading.Event) -> None:
        gate.set()
        assert watch.has_ended.wait(10)

    assert outcome_of_the_slow_call(30.0, let_the_answer_come) == "slow"
