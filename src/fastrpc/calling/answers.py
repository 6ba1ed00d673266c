"""The answers of a caller that compiled code does not finish by itself."""

from typing import Any

from fastrpc._core.calling.batch_call import BatchCall
from fastrpc._core.calling.client_call import ClientCall
from fastrpc.calling.outcomes import reply_of
from fastrpc.calling.unpacking import unpack
from fastrpc.errors import FastRPCError
from fastrpc.rpc.reply import Reply

__all__ = ["Answers"]


class Answers:
    """Finishes the answers of one caller."""

    async def unpack(self, call: ClientCall) -> Any:
        """Decompress an answer in slices; other tasks run in between."""
        try:
            await unpack(call, call._options.shared.message_limit)
            return call._finish_unpacked()
        except FastRPCError as error:
            error._of_own_call = True
            raise

    async def unpack_batch(self, batch: BatchCall) -> list[Any]:
        """Decompress the answers of a batch, and finish it."""
        for member in batch._packed():
            try:
                await unpack(member, batch._options.shared.message_limit)
            except FastRPCError as error:
                member._take_failure(error)
        values = batch._collect()
        return values if batch._is_attempt else await self.finish_batch(batch, values)

    async def finish_batch(self, batch: BatchCall, values: list[Any]) -> list[Any]:
        """Raise the first error of a batch, or return errors in their places."""
        raise NotImplementedError

    def reply(self, call: ClientCall, value: Any) -> Reply[Any]:
        """Wrap the answer of `request`."""
        return reply_of(call, value)
