"""A record that a program keeps in a registry, which may be user-defined."""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastrpc.endpoint import Endpoint
from fastrpc.user_code import contained

__all__ = ["HeldRecord"]

logger = logging.getLogger("fastrpc.registry")


class HeldRecord:
    """One endpoint in the list of one service, from `enter` to `leave`.

    A registration without the method `change` is changed as `Registry.register` describes: a new registration is
    entered, then the old one is left.

    Args:
        register: returns a registration of the service, as the method of a registry does.

    Raises:
        ConfigError: the registry cannot hold the endpoint.
    """

    def __init__(
        self, register: Callable[[Endpoint], AbstractAsyncContextManager[Any]], endpoint: Endpoint
    ) -> None:
        self._register = register
        #: The registered endpoint. None after a failed or cancelled change, when the registry may have the old or new
        #: record.
        self.endpoint: Endpoint | None = endpoint
        self._registration = self._registered(endpoint)
        # The object that entering the registration returned; None before. It may have `is_registered`, `change`,
        # `retire`.
        self._entered: Any = None

    def _registered(self, endpoint: Endpoint) -> AbstractAsyncContextManager[Any]:
        with contained("the registry"):
            return self._register(endpoint)

    @property
    def is_registered(self) -> bool:
        """True if the registry has the record, as far as known."""
        return bool(getattr(self._entered, "is_registered", True))

    async def enter(self) -> None:
        """Register; return once the registry has the record, or is known to be unreachable.

        Raises:
            Exception: the registry refuses the record; registries of fastrpc raise StoreError.
        """
        with contained("the registry"):
            self._entered = await self._registration.__aenter__()

    async def change(self, endpoint: Endpoint) -> None:
        """Replace the record with the record of another endpoint of the same address.

        Returns when the registry has the record, or is known to be unreachable.

        Raises:
            Exception: as `enter` raises it; the registry still has a record.
        """
        self.endpoint = None
        change = getattr(self._entered, "change", None)
        if change is None:
            await self._change_over(endpoint)
        else:
            with contained("the registry"):
                await change(endpoint)
        self.endpoint = endpoint

    async def _change_over(self, endpoint: Endpoint) -> None:
        registration = self._registered(endpoint)
        with contained("the registry"):
            entered = await registration.__aenter__()
        before, self._registration, self._entered = self._registration, registration, entered
        try:
            with contained("the registry"):
                await before.__aexit__(None, None, None)
        except Exception:
            # The new record is listed, and the previous one may still be listed.
            logger.exception(
                "the record of %s before a change could not be taken out of the registry", endpoint
            )

    async def retire(self) -> bool:
        """Mark the server in the record as draining; return whether the registry has stored the mark."""
        retire = getattr(self._entered, "retire", None)
        if retire is None:
            return False
        with contained("the registry"):
            return bool(await retire())

    async def leave(self) -> None:
        """Withdraw the record."""
        with contained("the registry"):
            await self._registration.__aexit__(None, None, None)
