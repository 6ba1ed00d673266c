"""The compiled classes, used as they are not meant to be: an exception each time, never a crash."""

import asyncio
import contextlib
import gc
import subprocess
import sys

import pytest

from fastrpc._core.loop_state import LoopState, loop_state
from fastrpc._core.timer_wheel import Schedule, ScheduledValue

MAKE_WITHOUT_INIT = """
import importlib, inspect, itertools, pkgutil
import fastrpc._core as core

SKIPPED = {name for name in dir(object)} | {"__del__"}
for module in pkgutil.iter_modules(core.__path__):
    module = importlib.import_module(f"fastrpc._core.{module.name}")
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


def test_value_of_another_schedule_is_refused() -> None:
    first, second = Schedule(), Schedule()
    value = first.schedule(1 << 30, "here")

    with pytest.raises(ValueError, match="elsewhere"):
        second.reschedule(value, 1 << 31)
    with pytest.raises(ValueError, match="elsewhere"):
        second.cancel(ScheduledValue())


async def test_loop_state_that_is_initialised_again_keeps_its_timers() -> None:
    state = loop_state(asyncio.get_running_loop())

    with contextlib.suppress(TypeError):
        LoopState.__init__(state, asyncio.get_running_loop())
    gc.collect()

    assert loop_state(asyncio.get_running_loop()) is state
