"""Decompression of answers and messages in slices, alternating with other deferred work of the loop."""

import asyncio

from fastrpc._core.client.client_call import ClientCall
from fastrpc._core.loop.loop_state import loop_state
from fastrpc._core.loop.turns import SlicedWork
from fastrpc.compressors.base import Steps, decompress_steps
from fastrpc.errors import DecodeError

__all__ = ["message_steps", "unpack"]


async def unpack(call: ClientCall, most: int) -> None:
    """Decompress a call's answer and store the result in the call; immediately if it is short and no other work waits.

    Raises:
        DecodeError: the answer is damaged, has more than `most` bytes, or its compressor is unknown.
    """
    loop = asyncio.get_running_loop()
    unpacked: asyncio.Future[bytes] = loop.create_future()
    steps = message_steps(call, None, most)

    def step() -> bool:
        if unpacked.done():
            # The caller has given up.
            return False
        try:
            next(steps)
        except StopIteration as end:
            unpacked.set_result(end.value)
        except DecodeError as error:
            unpacked.set_exception(error)
        return not unpacked.done()

    SlicedWork(loop_state(loop).turns, step).begin()
    try:
        call._take_unpacked(await unpacked)
    except DecodeError as error:
        call._count_undecoded(error)
        raise


def message_steps(call: ClientCall, message: bytes | None, most: int) -> Steps:
    """Return a generator that decompresses a message of a stream, or the answer of the call, in short steps.

    Args:
        message: the message; None means the answer.

    Raises:
        DecodeError: the payload is damaged, has more than `most` bytes, or its compressor is unknown.
    """
    compressor, answer = call._packed_answer
    try:
        return (yield from decompress_steps(compressor, answer if message is None else message, most))
    except DecodeError as error:
        raise call._unpacking_failed(error) from None
