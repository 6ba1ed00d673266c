"""The compiled classes, used as they are not meant to be: an exception each time, never a crash."""

import asyncio
import contextlib
import gc
import subprocess
import sys
from typing import Any, cast

import pytest

import fastrpc
from fastrpc._core.base.timer_wheel import Schedule, ScheduledValue
from fastrpc._core.loop.loop_state import LoopState, loop_state
from fastrpc._core.server.served_call import ServerCall, detached_call
from fastrpc.testing import connected

MAKE_WITHOUT_INIT = """
import importlib, inspect, itertools, pkgutil
import fastrpc._core as core

SKIPPED = {name for name in dir(object)} | {"__del__"}
for module in pkgutil.walk_packages(core.__path__, "fastrpc._core."):
    module = importlib.import_module(module.name)
    for kind in [value for value in vars(module).values() if inspect.isclass(value)]:
        if kind.__module__ != module.__name__ or not isinstance(kind, type):
            continue
        try:
            empty = kind.__new__(kind)
        except Exception:
            continue
        for name in sorted(set(dir(kind)) - SKIPPED):
            print(kind.__name__, name, flush=True)
            for arguments in [(), (None,), (0,), (b"x" * 40,), (None, None), (0, b""), (None, None, None)]:
                try:
                    member = getattr(empty, name)
                    member(*arguments)
                except Exception:
                    pass
"""


def test_no_object_that_was_never_initialised_crashes_the_interpreter() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MAKE_WITHOUT_INIT], capture_output=True, text=True, timeout=60
    )

    assert ended.returncode == 0, f"{ended.stdout.splitlines()[-1:]} {ended.stderr[-2000:]}"
    tried = {line.split()[0] for line in ended.stdout.splitlines()}
    assert tried >= {"Queue", "Marshal", "BaseSelector", "CallTable", "ServerCall", "Session"}


def test_value_of_another_schedule_is_refused() -> None:
    first, second = Schedule(), Schedule()
    value = first.schedule(1 << 30, "here")

    with pytest.raises(ValueError, match="by another schedule"):
        second.reschedule(value, 1 << 31)
    with pytest.raises(ValueError, match="by another schedule"):
        second.cancel(ScheduledValue())


async def test_loop_state_that_is_initialised_again_keeps_its_timers() -> None:
    state = loop_state(asyncio.get_running_loop())

    with contextlib.suppress(TypeError):
        LoopState.__init__(state, asyncio.get_running_loop())
    gc.collect()

    assert loop_state(asyncio.get_running_loop()) is state


@fastrpc.service("raw")
class Raw:
    def __init__(self) -> None:
        self.calls: list[ServerCall] = []

    @fastrpc.method(codec="raw")
    async def echo(self, value: bytes) -> bytes:
        self.calls.append(cast(ServerCall, fastrpc.current_call()))
        return value


async def test_call_that_a_connection_does_not_wait_for_is_refused() -> None:
    raw = Raw()
    async with connected(raw) as client:
        await client.call(Raw.echo, b"x")
        ended = raw.calls[0]
        gate = ended.connection.gate
        for call in (ended, detached_call(ServerCall, {}, None, None)):
            for value, error in ((b"1", None), (None, KeyError("y"))):
                with pytest.raises(ValueError, match="does not run in a thread"):
                    gate.runner.thread_finished(call, value, error)
            with pytest.raises(ValueError, match="does not wait for its arguments"):
                gate.unpacked(call, b"1", None)
        with pytest.raises(TypeError):
            gate.unpacked(ended, cast(Any, None), None)
        assert gate.running == 0
        assert await client.call(Raw.echo, b"y") == b"y"
