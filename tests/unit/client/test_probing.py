"""Active probes: the effect of each outcome on an endpoint, and the time of the next one."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.base.histogram import CallTotals
from fastrpc.client.probing import EndpointProbes, Prober
from fastrpc.config import ClientConfig, Probes
from fastrpc.endpoint import Endpoint
from fastrpc.errors import (
    CallError,
    ConnectionLostError,
    DeadlineExceededError,
    DecodeError,
    FastRPCError,
    OverloadedError,
    UnavailableError,
)
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.selectors import RoundRobin
from fastrpc.status import Status

LATE = DeadlineExceededError("no answer within 1 s")


def refused(error: UnavailableError) -> UnavailableError:
    """Return an error as if the server had sent it, before anything started."""
    error._was_received = True
    return error


def subchannels(*names: str, **settings: Any) -> tuple[Prober, list[Any]]:
    endpoint_set = EndpointSet(RoundRobin())
    endpoint_set.update([Endpoint(f"memory://{name}") for name in names])
    config = ClientConfig()
    prober = Prober(Probes(**settings), endpoint_set, config, RouteMaker(config, CallTotals()))
    return prober, [
        SimpleNamespace(endpoint=each.endpoint, endpoint_state=each) for each in endpoint_set.endpoint_states
    ]


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


# What outcomes mean


@pytest.mark.parametrize("answer", ["NOT_SERVING", "SERVICE_UNKNOWN", "", None, 7, ["SERVING"]])
def test_any_answer_but_serving_takes_an_endpoint_out_at_once(answer: object) -> None:
    prober, (subchannel,) = subchannels("a", fall=5)
    prober.answered(subchannel, answer)
    assert subchannel.endpoint_state.health.is_down
    prober.answered(subchannel, "SERVING")
    assert not subchannel.endpoint_state.health.is_down


@pytest.mark.parametrize(
    "error",
    [
        LATE,
        DeadlineExceededError("no place at the server in time", processed="no"),
        ConnectionLostError("it broke", processed="unknown"),
        CallError(Status.INTERNAL, "it fell over"),
        CallError(Status.UNAVAILABLE, "what it stands on is away"),
        refused(UnavailableError("not now")),
        DecodeError("that is not text"),
    ],
    ids=repr,
)
def test_failed_probes_take_an_endpoint_out_after_the_fall(error: FastRPCError) -> None:
    prober, (subchannel,) = subchannels("a", fall=3)
    states = []
    for _ in range(3):
        prober.failed(subchannel, error)
        states.append(subchannel.endpoint_state.health.is_down)
    assert states == [False, False, True]


@pytest.mark.parametrize(
    "error",
    [
        CallError(Status.UNIMPLEMENTED, "no method 'fastrpc.health.check' here", processed="no"),
        CallError(Status.UNAUTHENTICATED, "who are you?", processed="no"),
        CallError(Status.PERMISSION_DENIED, "not you", processed="no"),
        CallError(Status.RESOURCE_EXHAUSTED, "not so often", processed="yes"),
        OverloadedError("full", processed="no"),
    ],
    ids=repr,
)
def test_a_server_that_refuses_to_tell_lives(error: FastRPCError) -> None:
    prober, (subchannel,) = subchannels("a", fall=1)
    prober.failed(subchannel, LATE)
    assert subchannel.endpoint_state.health.is_down
    prober.failed(subchannel, error)
    assert not subchannel.endpoint_state.health.is_down


@pytest.mark.parametrize(
    "error", [UnavailableError("it drains"), ConnectionLostError("it broke", processed="no")]
)
@pytest.mark.parametrize("is_down", [False, True])
def test_an_undelivered_probe_does_not_count(error: FastRPCError, is_down: bool) -> None:
    prober, (subchannel,) = subchannels("a", fall=1)
    if is_down:
        prober.failed(subchannel, LATE)
    prober.failed(subchannel, error)
    assert subchannel.endpoint_state.health.is_down is is_down


def test_settings_say_how_many_probes_it_takes() -> None:
    prober, (subchannel,) = subchannels("a", fall=2, rise=2)
    states = []
    for is_good in (False, False, True, False, True, True):
        if is_good:
            prober.answered(subchannel, "SERVING")
        else:
            prober.failed(subchannel, LATE)
        states.append(subchannel.endpoint_state.health.is_down)
    assert states == [False, True, True, True, True, False]


# What is logged


def test_each_transition_is_logged_once_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastrpc.client")
    prober, (first, second) = subchannels("a", "b", fall=2)
    for _ in range(3):
        prober.answered(first, "NOT_SERVING")
        prober.failed(second, LATE)
    for _ in range(3):
        prober.answered(first, "SERVING")
    assert logged(caplog) == [
        ("WARNING", "memory://a is down: it says 'NOT_SERVING'"),
        ("WARNING", "memory://b is down: its probes fail, the last one with 'no answer within 1 s'"),
        ("INFO", "memory://a is up: it passed its probes"),
    ]


def test_servers_that_do_not_tell_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    prober, (first, second) = subchannels("a", "b")
    for subchannel in (first, second, first):
        prober.failed(subchannel, CallError(Status.UNIMPLEMENTED, "no method 'fastrpc.health.check' here"))
        prober.failed(subchannel, CallError(Status.PERMISSION_DENIED, "not you"))
    assert logged(caplog) == [
        (
            "WARNING",
            "memory://a does not report its health (UNIMPLEMENTED): probes only show that it answers",
        ),
        (
            "WARNING",
            "memory://a does not report its health (PERMISSION_DENIED): probes only show that it answers",
        ),
    ]


def test_texts_of_a_server_cannot_forge_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    prober, (first, second) = subchannels("a", "b", fall=1)
    prober.answered(first, "fine\nERROR root is on fire " + 10_000 * "!")
    prober.failed(second, ConnectionLostError("lost (bye\nERROR root)" + 10_000 * "!", processed="unknown"))
    for _, message in logged(caplog):
        assert "\n" not in message
        assert len(message) < 300


# When they are sent


class Loop:
    """Keeps later callbacks."""

    def __init__(self) -> None:
        self.timers: list[Any] = []

    def call_later(self, seconds: float, callback: Callable[[], None], *, context: object) -> Any:
        timer = SimpleNamespace(seconds=seconds, run=callback, is_cancelled=False)
        timer.cancel = lambda: setattr(timer, "is_cancelled", True)
        self.timers.append(timer)
        return timer

    @property
    def waiting(self) -> list[Any]:
        return [timer for timer in self.timers if not timer.is_cancelled]

    def run(self) -> float:
        """Let the only timer that waits fire; return how long it waited."""
        (timer,) = self.waiting
        self.timers = []
        timer.run()
        seconds: float = timer.seconds
        return seconds


class Future:
    def __init__(self) -> None:
        self.callbacks: list[Callable[[Any], None]] = []

    def add_done_callback(self, callback: Callable[[Any], None], *, context: object) -> None:
        self.callbacks.append(callback)

    def remove_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.callbacks.remove(callback)


class Probe:
    """Stands for the call; `error` is raised by its first step."""

    def __init__(self, error: FastRPCError | None = None) -> None:
        self.future = Future()
        self.error = error
        self.is_closed = False
        self._was_sent = False

    def send(self, value: None) -> Future:
        if self.error is not None:
            raise self.error
        if self._was_sent:
            raise StopIteration("SERVING")
        self._was_sent = True
        return self.future

    def answer(self) -> None:
        for callback in list(self.future.callbacks):
            callback(self.future)

    def close(self) -> None:
        self.is_closed = True


class Session:
    is_ready = is_usable = True

    def __init__(self) -> None:
        self.probes: list[Any] = []

    def begin_probe(self, probe: Any) -> None:
        self.probes.append(probe)

    def end_probe(self, probe: Any) -> None:
        self.probes.remove(probe)


class Schedule:
    """The probes of one endpoint with one connection, on a loop that stands still."""

    def __init__(self, interval: float = 10.0) -> None:
        self.loop = Loop()
        self.session = Session()
        self.subchannel = SimpleNamespace(all_connections={self.session})
        self.made: list[Probe] = []
        self.outcomes: list[object] = []
        self.error: FastRPCError | None = None
        prober = SimpleNamespace(
            settings=Probes(interval=interval),
            probe_on=self._make,
            answered=lambda subchannel, answer: self.outcomes.append(answer),
            failed=lambda subchannel, error: self.outcomes.append(error),
        )
        self.probes = EndpointProbes(prober, self.subchannel, self.loop)  # type: ignore[arg-type]

    def _make(self, session: Session) -> Probe:
        assert session is self.session
        self.made.append(Probe(self.error))
        return self.made[-1]


def test_a_new_connection_is_asked_at_once_and_then_at_the_interval() -> None:
    schedule = Schedule(interval=10)
    schedule.probes.begin()
    pauses = []
    for _ in range(20):
        pauses.append(schedule.loop.run())
        assert schedule.loop.waiting == []
        schedule.made[-1].answer()
    assert pauses[0] == 0
    assert 0 <= pauses[1] <= 10
    assert all(9 <= pause <= 11 for pause in pauses[2:])
    assert len(set(pauses[2:])) > 1
    assert schedule.outcomes == ["SERVING"] * 20
    assert schedule.session.probes == []


def test_endpoints_connected_together_are_probed_at_different_times() -> None:
    second_pauses = []
    for _ in range(100):
        schedule = Schedule(interval=10)
        schedule.probes.begin()
        schedule.loop.run()
        schedule.made[-1].answer()
        second_pauses.append(schedule.loop.run())
    # The chance that none of a hundred lies in a given fifth is two in ten thousand million.
    assert {int(pause // 2) for pause in second_pauses} >= {0, 1, 2, 3, 4}


def test_without_a_connection_no_probe_is_sent() -> None:
    schedule = Schedule()
    schedule.probes.begin()
    schedule.session.is_usable = False
    schedule.loop.run()
    assert schedule.made == []
    assert schedule.loop.waiting == []
    schedule.session.is_usable = True
    schedule.probes.begin()
    assert schedule.loop.run() == 0
    assert len(schedule.made) == 1


def test_a_connection_that_is_not_ready_gets_no_probe() -> None:
    schedule = Schedule()
    schedule.session.is_ready = False
    schedule.probes.begin()
    schedule.loop.run()
    assert schedule.made == []


def test_a_new_connection_does_not_wait_for_the_turn_of_its_endpoint() -> None:
    schedule = Schedule(interval=1000)
    schedule.probes.begin()
    schedule.loop.run()
    schedule.made[-1].answer()
    schedule.probes.begin()
    assert schedule.loop.run() == 0
    assert len(schedule.made) == 2


def test_one_probe_at_a_time() -> None:
    schedule = Schedule()
    schedule.probes.begin()
    schedule.loop.run()
    schedule.probes.begin()
    assert schedule.loop.waiting == []
    schedule.made[-1].answer()
    assert len(schedule.loop.waiting) == 1


def test_a_probe_that_cannot_be_sent_is_judged_and_the_next_one_is_made() -> None:
    schedule = Schedule()
    schedule.error = ConnectionLostError("it broke", processed="no")
    schedule.probes.begin()
    schedule.loop.run()
    assert schedule.outcomes == [schedule.error]
    assert schedule.session.probes == []
    assert len(schedule.loop.waiting) == 1


def test_an_answer_in_the_turn_of_the_end_is_not_looked_at() -> None:
    schedule = Schedule()
    schedule.probes.begin()
    schedule.loop.run()
    (answered,) = schedule.made[0].future.callbacks
    schedule.probes.end()
    answered(schedule.made[0].future)
    assert schedule.outcomes == []
    assert schedule.loop.waiting == []


@pytest.mark.parametrize("is_under_way", [False, True])
def test_the_end_leaves_nothing(is_under_way: bool) -> None:
    schedule = Schedule()
    schedule.probes.begin()
    schedule.loop.run()
    (probe,) = schedule.made
    if not is_under_way:
        probe.answer()
    schedule.probes.end()
    assert probe.is_closed is is_under_way
    assert probe.future.callbacks == [] or not is_under_way
    assert schedule.loop.waiting == []
    assert schedule.session.probes == []
    schedule.probes.end()
