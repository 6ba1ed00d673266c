"""The slow path of a caller's long requests and answers, which compiled code passes to this module.

The compression modules are imported on use, because most clients compress nothing.
"""

from collections.abc import Coroutine
from typing import Any

from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.call_errors import mark_own_call
from fastrpc._core.client.client_call import ClientCall
from fastrpc.errors import FastRPCError
from fastrpc.peers.batches import Batch, outcomes_of
from fastrpc.peers.outcomes import count_unsent, reply_of
from fastrpc.rpc.reply import Reply

__all__ = ["Answers"]


class Answers:
    """Finishes the answers of one caller."""

    #: The most bytes of an answer, set at construction.
    _answer_bytes: int

    async def unpack(self, call: AwaitedCall) -> Any:
        """Decompress an answer in slices; other tasks run in between."""
        from fastrpc.peers.unpacking import unpack

        try:
            await unpack(call, self._answer_bytes)
            return call._finish_unpacked()
        except FastRPCError as error:
            mark_own_call(error)
            raise

    def run_packed(self, call: AwaitedCall) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that makes a call whose arguments are compressed in slices."""
        raise NotImplementedError

    async def pack(self, call: AwaitedCall) -> Any:
        """Compress the arguments of an attempt in slices, and make it; other tasks run in between."""
        from fastrpc.peers.packing import pack_in_time

        try:
            sending = call._with_packed(*await pack_in_time(call, *call._to_pack))
        except BaseException as error:
            count_unsent(call, error)
            raise
        try:
            return await sending
        finally:
            call._adopt(sending)

    async def run_singles(self, head: AwaitedCall) -> list[Any]:
        """Make each call of a batch separately."""
        batch = Batch(head)
        return batch.result(await outcomes_of(batch.singles()))

    async def unpack_batch(self, head: AwaitedCall) -> list[Any]:
        """Decompress the answers of a batch, and finish it."""
        from fastrpc.peers.unpacking import unpack

        batch = Batch(head)
        for member in batch.packed():
            try:
                await unpack(member, self._answer_bytes)
            except FastRPCError as error:
                member._take_failure(error)
        values = batch.collect()
        return values if head._is_attempt else await self.finish_batch(head, values)

    async def finish_batch(self, head: AwaitedCall, values: list[Any]) -> list[Any]:
        """Return a batch's results. Raise its first error, unless errors are to be returned like values."""
        raise NotImplementedError

    def reply(self, call: ClientCall, value: Any) -> Reply[Any]:
        """Wrap the answer of `request`."""
        return reply_of(call, value)
