"""The record of a server in the registry of one scope."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.held import HeldRecord

__all__ = ["ScopedRecord"]


class ScopedRecord:
    """A registration of `any://`.

    Args:
        labelled: returns an endpoint with the labels of the server, for each record.
    """

    def __init__(self, held: HeldRecord, labelled: Callable[[Endpoint], Endpoint]) -> None:
        self._held, self._labelled = held, labelled

    async def __aenter__(self) -> Self:
        await self._held.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._held.leave()

    @property
    def is_registered(self) -> bool:
        """Whether the registry of the scope has the record, as far as is known."""
        return self._held.is_registered

    async def change(self, endpoint: Endpoint) -> None:
        """Register another endpoint of the same address.

        Raises:
            ConfigError: the endpoint has another address, or the registry cannot hold it.
            StoreError: the registry refuses it.
        """
        await self._held.change(self._labelled(endpoint))

    async def retire(self) -> bool:
        """Mark the server in the record as draining; return whether the registry has such a mark."""
        return await self._held.retire()
