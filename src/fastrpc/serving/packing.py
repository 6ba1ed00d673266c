"""Compression of long answers in slices, counted at their connections meanwhile."""

from fastrpc._core.serving.exchange import Exchange
from fastrpc.calling.packing import Packing, PackingDone
from fastrpc.compressors.base import Compressor

__all__ = ["CountedPacking"]


class CountedPacking(Packing):
    """One payload of a served call that is compressed; where memory is used up it goes as it is."""

    def __init__(self, exchange: Exchange, compressor: Compressor, payload: bytes, done: PackingDone) -> None:
        self._exchange = exchange
        self._held = 0
        self._count(len(payload))
        super().__init__(exchange.gate.loop_state.turns, compressor, payload, done)

    def _grew(self, size: int) -> bool:
        self._count(len(self._payload) + size)
        return not self._exchange.gate.memory.is_full

    def _end(self) -> None:
        super()._end()
        self._count(0)

    def _count(self, held: int) -> None:
        self._exchange.gate.memory.count_answer(self._exchange, held - self._held)
        self._held = held
