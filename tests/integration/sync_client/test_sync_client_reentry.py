"""Uses of a SyncClient by an interruption of the thread that waits in it."""

import contextlib
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import ClientConfig, ConnectError, DeadlineExceededError, SyncClient, Timeouts, UnavailableError
from fastrpc.testing import serving

INSIDE = "used inside itself"
NO_TIMEOUTS = ClientConfig(timeouts=Timeouts(call=None, connect=None))


@fastrpc.service("patient")
class Patient:
    """Handlers that wait until they are released."""

    def __init__(self) -> None:
        self.entered = 0
        self.release = threading.Event()

    @fastrpc.method
    def wait(self) -> int:
        self.entered += 1
        self.release.wait(20)
        return 42

    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


@pytest.fixture
def patient() -> Iterator[Patient]:
    patient = Patient()
    yield patient
    patient.release.set()


@pytest.fixture
def address(patient: Patient) -> Iterator[str]:
    with serving(patient) as address:
        yield address


class Interrupted:
    """Runs `action` in a signal handler of the main thread while that is in `call`; keeps the outcomes of both."""

    def __init__(
        self,
        call: Callable[[], Any],
        action: Callable[[], Any],
        *,
        when: Callable[[], object],
        after: Callable[[], object],
    ) -> None:
        self.inside: Any = None
        self._was_handled = threading.Event()
        before = signal.signal(signal.SIGUSR1, lambda *_: self._handle(action))
        helper = threading.Thread(target=self._interrupt, args=(when, after, threading.get_ident()))
        helper.start()
        try:
            self.outcome = outcome_of(call)
        finally:
            helper.join(20)
            signal.signal(signal.SIGUSR1, before)

    def _handle(self, action: Callable[[], Any]) -> None:
        if not self._was_handled.is_set():
            self._was_handled.set()
            self.inside = outcome_of(action)

    def _interrupt(self, when: Callable[[], object], after: Callable[[], object], thread: int) -> None:
        pause = threading.Event()
        while not when():
            pause.wait(0.001)
        for _ in range(100):
            # A signal right before the system call in which the thread waits does not end the call.
            signal.pthread_kill(thread, signal.SIGUSR1)
            if self._was_handled.wait(0.1):
                break
        after()


def outcome_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return error


USES: dict[str, Callable[[SyncClient], Any]] = {
    "call": lambda client: client.call(Patient.mul, 6, 7),
    "by name": lambda client: client.call("patient.mul", 6, 7),
    "request": lambda client: client.request(Patient.mul, 6, 7),
    "notify": lambda client: client.notify(Patient.mul, 6, 7),
    "call_many": lambda client: client.call_many(Patient.mul, [(6, 7)]),
    "view": lambda client: client.with_options(timeout=None).call(Patient.mul, 6, 7),
    "proxy": lambda client: client.bind(Patient).mul(6, 7),
    "broadcast": lambda client: client.broadcast(Patient.mul, 6, 7),
    "fork": lambda client: client.fork(Patient.mul, 6, 7),
    "ready": lambda client: client.ready(),
}


@pytest.mark.parametrize("use", USES)
def test_a_call_of_a_signal_handler_inside_a_call_is_refused_at_once(
    patient: Patient, address: str, use: str
) -> None:
    with SyncClient([address, address.replace("127.0.0.1", "localhost")], config=NO_TIMEOUTS) as client:
        interrupted = Interrupted(
            lambda: client.call(Patient.wait),
            lambda: USES[use](client),
            when=lambda: patient.entered,
            after=patient.release.set,
        )
        assert isinstance(interrupted.inside, RuntimeError)
        assert INSIDE in str(interrupted.inside)
        assert interrupted.outcome == 42
        assert client.call(Patient.mul, 6, 7) == 42


async def passing(call: Any, proceed: Any) -> Any:
    return await proceed(call)


OUTER: dict[str, Callable[[SyncClient], Any]] = {
    "call": lambda client: client.call(Patient.wait),
    "call_many": lambda client: client.call_many(Patient.wait, [()])[0],
    "fork": lambda client: client.fork(Patient.wait),
    "broadcast": lambda client: next(iter(client.broadcast(Patient.wait).values())).value,
}


@pytest.mark.parametrize("interceptors", [[], [passing]], ids=["plain", "interceptor"])
@pytest.mark.parametrize("outer", OUTER)
def test_every_way_of_waiting_refuses_a_call_inside(
    patient: Patient, address: str, outer: str, interceptors: list[Any]
) -> None:
    with (
        SyncClient([address], interceptors=interceptors, config=NO_TIMEOUTS) as single,
        contextlib.ExitStack() as more,
    ):
        client = single
        if outer in ("fork", "broadcast"):
            addresses = [address, address.replace("127.0.0.1", "localhost")]
            client = more.enter_context(SyncClient(addresses, interceptors=interceptors, config=NO_TIMEOUTS))
        interrupted = Interrupted(
            lambda: OUTER[outer](client),
            lambda: client.call(Patient.mul, 6, 7),
            when=lambda: patient.entered,
            after=patient.release.set,
        )
        assert isinstance(interrupted.inside, RuntimeError)
        assert interrupted.outcome == 42


def test_a_thread_that_sleeps_while_another_one_reads_refuses_a_call_inside(
    patient: Patient, address: str
) -> None:
    with SyncClient(address, config=NO_TIMEOUTS) as client:
        reader = threading.Thread(target=client.call, args=(Patient.wait,))
        reader.start()
        while not patient.entered:
            pass
        interrupted = Interrupted(
            lambda: client.call(Patient.wait),
            lambda: client.call(Patient.mul, 6, 7),
            when=lambda: patient.entered == 2,
            after=patient.release.set,
        )
        reader.join(10)
        assert isinstance(interrupted.inside, RuntimeError)
        assert interrupted.outcome == 42


@contextlib.contextmanager
def full_listener() -> Iterator[str]:
    """A listener whose queue is full: connecting to it waits."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(2):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("use", ["call", "ready", "broadcast"])
def test_a_call_of_a_signal_handler_while_its_thread_connects_is_refused_at_once(use: str) -> None:
    with full_listener() as address, SyncClient(address, config=NO_TIMEOUTS) as client:
        subchannel = client._pool.subchannels[0]
        interrupted = Interrupted(
            lambda: client.with_options(timeout=0.5).call(Patient.mul, 6, 7),
            lambda: USES[use](client),
            when=lambda: subchannel.is_dialing,
            after=lambda: None,
        )
        assert isinstance(interrupted.inside, RuntimeError)
        assert isinstance(interrupted.outcome, DeadlineExceededError | ConnectError)


def test_a_call_of_a_signal_handler_while_its_thread_waits_for_anothers_connection_is_refused() -> None:
    with full_listener() as address, SyncClient(address, config=NO_TIMEOUTS) as client:
        subchannel, changed = client._pool.subchannels[0], client._pool._changed
        view = client.with_options(timeout=1)
        other = threading.Thread(target=outcome_of, args=(lambda: view.call(Patient.mul, 6, 7),))
        other.start()
        while not subchannel.is_dialing:
            pass
        interrupted = Interrupted(
            lambda: view.call(Patient.mul, 6, 7),
            lambda: client.call(Patient.mul, 6, 7),
            when=lambda: changed._waiters,  # type: ignore[attr-defined]
            after=lambda: None,
        )
        other.join(10)
        assert isinstance(interrupted.inside, RuntimeError)
        assert isinstance(interrupted.outcome, DeadlineExceededError | ConnectError)


def test_a_finalizer_that_runs_inside_a_wait_is_refused(patient: Patient, address: str) -> None:
    seen: list[Any] = []

    class Reckless:
        def __del__(self) -> None:
            seen.append(outcome_of(lambda: client.call(Patient.mul, 1, 1)))

    def collect() -> None:
        own = Reckless()
        own.itself = own
        del own
        gc.collect()

    with SyncClient(address, config=NO_TIMEOUTS) as client:
        interrupted = Interrupted(
            lambda: client.call(Patient.wait),
            collect,
            when=lambda: patient.entered,
            after=patient.release.set,
        )
        assert interrupted.outcome == 42
        collect()
        assert client.call(Patient.mul, 6, 7) == 42
    assert isinstance(seen[0], RuntimeError)
    assert seen[1:] == [1]


# Uses that stay allowed


def test_a_signal_handler_may_use_another_client(patient: Patient, address: str) -> None:
    with SyncClient(address, config=NO_TIMEOUTS) as client, SyncClient(address) as other:
        interrupted = Interrupted(
            lambda: client.call(Patient.wait),
            lambda: other.call(Patient.mul, 6, 7),
            when=lambda: patient.entered,
            after=patient.release.set,
        )
        assert (interrupted.inside, interrupted.outcome) == (42, 42)


def test_a_signal_handler_may_look_at_stats_and_make_views(patient: Patient, address: str) -> None:
    with SyncClient(address, config=NO_TIMEOUTS) as client:
        interrupted = Interrupted(
            lambda: client.call(Patient.wait),
            lambda: (client.with_options(timeout=1), client.stats()["live"]["calls"]),
            when=lambda: patient.entered,
            after=patient.release.set,
        )
        assert interrupted.inside[1] == 1
        assert interrupted.outcome == 42


def test_a_signal_handler_may_close_the_client(patient: Patient, address: str) -> None:
    with SyncClient(address, config=NO_TIMEOUTS) as client:
        interrupted = Interrupted(
            lambda: client.call(Patient.wait),
            client.close,
            when=lambda: patient.entered,
            after=patient.release.set,
        )
        assert interrupted.inside is None
        assert isinstance(interrupted.outcome, UnavailableError)


def test_an_interceptor_may_call_the_client_it_belongs_to(address: str) -> None:
    inner: list[int] = []

    async def asking(call: Any, proceed: Any) -> Any:
        if call.metadata.get("inner") is None:
            inner.append(client.with_options(metadata={"inner": "yes"}).call(Patient.mul, 2, 3))
        return await proceed(call)

    with SyncClient(address, interceptors=[asking]) as client:
        assert client.call(Patient.mul, 6, 7) == 42
    assert inner == [6]


def test_another_thread_calls_while_one_waits(patient: Patient, address: str) -> None:
    with SyncClient(address, config=NO_TIMEOUTS) as client:
        waiting = threading.Thread(target=client.call, args=(Patient.wait,))
        waiting.start()
        while not patient.entered:
            pass
        assert client.call(Patient.mul, 6, 7) == 42
        patient.release.set()
        waiting.join(10)
