"""A turn of the loop that has handled enough: bytes read in it wait."""

import asyncio

from fastrpc._core.io.engine import PythonEngine
from fastrpc._core.io.session import Session
from fastrpc._core.loop.loop_state import loop_state
from fastrpc._core.loop.turns import SlicedWork, Turns
from tests.support.blocking import keep_the_loop
from tests.support.still_transport import StillTransport

__all__ = ["use_up_the_slices", "use_up_the_turn"]


class _Slow(PythonEngine):
    """Takes longer than all short reads of a turn may."""

    def receive_data(self, data: bytes) -> int:
        keep_the_loop(0.0015)
        return len(data)


def use_up_the_slices() -> Turns:
    """Leave time in this turn of the loop for short reads alone."""
    turns = loop_state(asyncio.get_running_loop()).turns

    def step() -> bool:
        keep_the_loop(0.005)
        return False

    SlicedWork(turns, step).begin()
    return turns


def use_up_the_turn() -> Turns:
    """Leave nothing of this turn of the loop."""
    turns = use_up_the_slices()
    session = Session(_Slow(), loop=asyncio.get_running_loop())
    session.connection_made(StillTransport())
    session.get_buffer(1)[:1] = b"."
    session.buffer_updated(1)
    session.connection_lost(None)
    return turns
