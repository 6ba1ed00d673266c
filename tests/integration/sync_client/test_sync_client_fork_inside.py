"""A thread that forks while it waits inside a SyncClient, as signal handlers may: its call's outcome in the child."""

import contextlib
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import ClientConfig, ConnectionLostError, Pool, SyncClient, Timeouts
from fastrpc.client.plan import FORK_LOOK_SECONDS
from fastrpc.config import Breaker
from fastrpc.testing import serving
from tests.support.desk import Desk

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

NO_TIMEOUTS = ClientConfig(timeouts=Timeouts(call=None, connect=None))

#: With a separate breaker a single address has an endpoint set, too.
KEPT_ENDPOINTS = ClientConfig(timeouts=Timeouts(call=None), pool=Pool(breaker=Breaker(consecutive=50)))


class ForkInside:
    """Makes a call in the main thread, and forks it in there by a signal handler once `when` is true."""

    def __init__(
        self,
        call: Callable[[], Any],
        when: Callable[[], bool],
        after: Callable[[], object],
        *,
        handler_seconds: float = 0.0,
    ) -> None:
        self._is_child = False
        self._handler_seconds = handler_seconds
        self._has_forked = threading.Event()
        reading, writing = os.pipe()
        before = signal.signal(signal.SIGUSR1, self._fork)
        helper = threading.Thread(target=self._signal, args=(when, after, threading.get_ident()))
        helper.start()
        try:
            self.outcome = outcome_of(call)
        finally:
            if self._is_child:
                # pytest must not continue here.
                os.write(writing, self.outcome.encode())
                os._exit(0)
            signal.signal(signal.SIGUSR1, before)
        helper.join(10)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            self.outcome_of_child = pipe.read().decode()
        os.waitpid(self._child, 0)

    def _signal(self, when: Callable[[], bool], after: Callable[[], object], thread: int) -> None:
        eventually_blocking(when)
        for _ in range(100):
            # A signal right before the system call in which the thread waits does not end the call.
            signal.pthread_kill(thread, signal.SIGUSR1)
            if self._has_forked.wait(0.1):
                break
        after()

    def _fork(self, *_: object) -> None:
        if self._has_forked.is_set():
            return
        self._has_forked.set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child = os.fork()
        self._is_child = self._child == 0
        time.sleep(self._handler_seconds)


def outcome_of(call: Callable[[], Any]) -> str:
    try:
        value = call()
    except BaseException as error:
        return f"{type(error).__name__} {getattr(error, 'processed', '')}"
    if isinstance(value, list | dict):
        values = list(value) if isinstance(value, list) else list(value.values())
        return " ".join(f"{type(one).__name__} {getattr(one, 'processed', '')}" for one in values)
    return f"{value!r}"


@fastrpc.service("patient")
class Patient:
    """Handlers that wait until they are released."""

    def __init__(self) -> None:
        self.entered = 0
        self.release = threading.Event()

    @fastrpc.method
    def wait(self) -> int:
        self.entered += 1
        self.release.wait(10)
        return 42

    @fastrpc.method(idempotent=True)
    def wait_idempotent(self) -> int:
        return self.wait()


async def passing(call: Any, proceed: Any) -> Any:
    return await proceed(call)


CALLS: dict[str, Callable[[SyncClient], Any]] = {
    "call": lambda client: client.call(Patient.wait),
    "idempotent": lambda client: client.call(Patient.wait_idempotent),
    "request": lambda client: client.request(Patient.wait_idempotent).value,
    "batch": lambda client: client.call_many(Patient.wait_idempotent, [(), ()], return_exceptions=True),
    "broadcast": lambda client: client.broadcast(Patient.wait_idempotent),
    "fork": lambda client: client.fork(Patient.wait_idempotent),
}


@pytest.mark.parametrize("makes", ["plain", "interceptor", "several"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_the_forking_thread_is_in_ends_in_the_child_and_continues_in_the_parent(
    makes: str, call: str
) -> None:
    patient = Patient()
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(serving(patient))
        target: Any = [address, stack.enter_context(serving(patient))] if makes == "several" else address
        interceptors = [passing] if makes == "interceptor" else []
        client = stack.enter_context(SyncClient(target, interceptors=interceptors, config=NO_TIMEOUTS))
        stack.callback(patient.release.set)
        if call in ("broadcast", "fork") and makes != "several":
            client = stack.enter_context(
                SyncClient([address], interceptors=interceptors, config=KEPT_ENDPOINTS)
            )
        # All of its threads, where it takes some.
        count = 2 if makes == "several" and call in ("broadcast", "fork") else 1
        inside = ForkInside(
            lambda: CALLS[call](client), lambda: patient.entered >= count, patient.release.set
        )
    assert call in ("batch", "broadcast") or inside.outcome == "42"
    assert inside.outcome_of_child == " ".join(
        ["ConnectionLostError unknown"] * (2 if call == "batch" else 1)
    )


@pytest.mark.parametrize("call", ["broadcast", "fork"])
def test_a_handler_that_forks_and_takes_its_time_leaves_no_child_waiting(call: str) -> None:
    patient = Patient()
    with contextlib.ExitStack() as stack:
        addresses = [stack.enter_context(serving(patient)) for _ in range(2)]
        client = stack.enter_context(SyncClient(addresses, config=NO_TIMEOUTS))
        stack.callback(patient.release.set)
        inside = ForkInside(
            lambda: CALLS[call](client),
            lambda: patient.entered >= 2,
            patient.release.set,
            # Longer than the thread waits at a time.
            handler_seconds=3 * FORK_LOOK_SECONDS,
        )
    assert inside.outcome.startswith("42") or call == "broadcast"
    assert inside.outcome_of_child == "ConnectionLostError unknown"


def test_a_sleeping_thread_that_forks_ends_its_call_in_the_child() -> None:
    patient = Patient()
    with serving(patient) as address, SyncClient(address, config=NO_TIMEOUTS) as client:
        # It reads, so the main thread sleeps.
        reader = threading.Thread(target=client.call, args=(Patient.wait,))
        reader.start()
        eventually_blocking(lambda: patient.entered == 1)
        inside = ForkInside(
            lambda: client.call(Patient.wait), lambda: patient.entered == 2, patient.release.set
        )
        reader.join(10)
    assert (inside.outcome, inside.outcome_of_child) == ("42", "ConnectionLostError unknown")


def test_a_thread_that_forks_while_it_connects_ends_its_call_in_the_child() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        address = f"tcp://127.0.0.1:{full.getsockname()[1]}"
        for _ in range(2):  # The queue is full, so that the next one waits.
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        client = stack.enter_context(SyncClient(address, config=NO_TIMEOUTS))
        subchannel = client._pool.subchannels[0]
        inside = ForkInside(
            lambda: client.with_options(timeout=2).call(Desk.mul, 6, 7),
            lambda: subchannel.is_dialing,
            lambda: None,
        )
    assert inside.outcome_of_child == "ConnectionLostError unknown"


def test_a_thread_that_forks_while_another_one_connects_ends_its_call_in_the_child() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        address = f"tcp://127.0.0.1:{full.getsockname()[1]}"
        for _ in range(2):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        client = stack.enter_context(SyncClient(address, config=NO_TIMEOUTS))
        subchannel = client._pool.subchannels[0]
        other = threading.Thread(
            target=outcome_of, args=(lambda: client.with_options(timeout=2).call("a.b"),)
        )
        other.start()
        eventually_blocking(lambda: subchannel.is_dialing)
        inside = ForkInside(
            lambda: client.with_options(timeout=2).call("a.b"),
            lambda: client._pool._changed._waiters,  # type: ignore[attr-defined]
            lambda: None,
        )
        other.join(10)
    assert inside.outcome_of_child == "ConnectionLostError unknown"


def test_a_signal_handler_that_forks_inside_a_call_may_call_in_the_child() -> None:
    patient = Patient()
    with serving(patient) as address, serving(Desk) as desk, SyncClient([address, desk]) as client:
        view = client.with_options(endpoint=desk)
        waiting = client.with_options(endpoint=address, timeout=None)
        found: list[Any] = []

        class CallInside(ForkInside):
            def _fork(self, *arguments: object) -> None:
                super()._fork(*arguments)
                if self._is_child and not found:
                    found.append(view.call(Desk.mul, 6, 7))

        def call() -> Any:
            try:
                return waiting.call(Patient.wait)
            except ConnectionLostError:
                return found

        inside = CallInside(call, lambda: patient.entered == 1, patient.release.set)
    assert (inside.outcome, inside.outcome_of_child) == ("42", "int ")


def eventually_blocking(condition: Callable[[], object]) -> None:
    """Return once a condition holds, which other threads bring about."""
    pause, limit = threading.Event(), 10_000
    while not condition():
        limit -= 1
        assert limit
        pause.wait(0.001)
