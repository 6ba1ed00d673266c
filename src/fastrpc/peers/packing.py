"""Compression of long requests, answers and messages in slices, alternating with other deferred work of the loop."""

import asyncio
from collections.abc import Callable

from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.loop.loop_state import loop_state
from fastrpc._core.loop.turns import SlicedWork, Turns
from fastrpc.compressors.base import Compressor, compress_steps
from fastrpc.time_limit import time_limit
from fastrpc.user_code import plain_error

__all__ = ["Packing", "PackingDone", "pack_arguments", "pack_in_time"]

#: Called with the payload to send, whether it is compressed, and the error of a failed compression.
PackingDone = Callable[[bytes, bool, BaseException | None], None]


class Packing:
    """The compression of one payload in slices, from the next loop iteration on.

    Args:
        done: called with the result; with the original payload if compression does not shrink it.
    """

    def __init__(self, turns: Turns, compressor: Compressor, payload: bytes, done: PackingDone) -> None:
        self._payload = payload
        self._done = done
        self._steps = compress_steps(compressor, payload)
        self._is_over = False
        SlicedWork(turns, self._step).queue()

    def stop(self) -> None:
        """Stop the compression; `done` will not be called."""
        if not self._is_over:
            self._end()

    def _step(self) -> bool:
        packed, error = None, None
        if self._is_over:
            return False
        try:
            if self._grew(next(self._steps)):
                return True
        except StopIteration as end:
            packed = end.value
        except BaseException as problem:  # An installed compressor may raise anything.
            error = plain_error(problem, "the compressor")
        self._end()
        self._done(self._payload if packed is None else packed, packed is not None, error)
        return False

    def _grew(self, size: int) -> bool:
        """Return whether to continue after `size` bytes of output."""
        return True

    def _end(self) -> None:
        self._is_over = True


async def pack_in_time(attempt: AwaitedCall, compressor: Compressor, arguments: bytes) -> tuple[bytes, bool]:
    """Return the arguments of an attempt as they are sent, and whether they are compressed.

    Raises:
        DeadlineExceededError: the deadline passed before the compression ended.
        EncodeError: the compressor failed.
    """
    try:
        async with time_limit(attempt.remaining()):
            return await _pack(compressor, arguments)
    except Exception as error:  # The deadline, or an installed compressor, which may raise anything.
        raise attempt._not_packed(error) from (None if isinstance(error, TimeoutError) else error)


async def pack_arguments(attempt: AwaitedCall) -> None:
    """Compress the arguments of a stream before its attempt starts, if the compression takes long."""
    found = attempt._stream_to_pack()
    if found is not None:
        attempt._take_packed(*await pack_in_time(attempt, *found))


async def _pack(compressor: Compressor, payload: bytes) -> tuple[bytes, bool]:
    """Return the payload to send, and whether it is compressed; other tasks run in between."""
    loop = asyncio.get_running_loop()
    packed: asyncio.Future[tuple[bytes, bool]] = loop.create_future()

    def done(payload: bytes, is_smaller: bool, error: BaseException | None) -> None:
        if packed.done():
            return
        if error is None:
            packed.set_result((payload, is_smaller))
        else:
            packed.set_exception(error)

    packing = Packing(loop_state(loop).turns, compressor, payload, done)
    try:
        return await packed
    finally:
        packing.stop()
