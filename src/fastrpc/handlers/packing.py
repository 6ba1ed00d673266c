"""Compression of long answers in slices. Meanwhile the payload and its output count in the connection's memory."""

from fastrpc._core.server.served_connection import ServedConnection
from fastrpc.compressors.base import Compressor
from fastrpc.peers.packing import Packing, PackingDone

__all__ = ["CountedPacking"]


class CountedPacking(Packing):
    """The compression of one payload of a served call. If memory is short, the payload is sent uncompressed."""

    def __init__(
        self, connection: ServedConnection, compressor: Compressor, payload: bytes, done: PackingDone
    ) -> None:
        self._connection = connection
        self._held = 0
        self._count(len(payload))
        super().__init__(connection.gate.loop_state.turns, compressor, payload, done)

    def _grew(self, size: int) -> bool:
        self._count(len(self._payload) + size)
        return not self._connection.gate.memory.is_full

    def _end(self) -> None:
        super()._end()
        self._count(0)

    def _count(self, held: int) -> None:
        self._connection.gate.memory.count_answer(self._connection, held - self._held)
        self._held = held
