"""What a server tells its registry: its services, at each address that it listens at."""

from collections.abc import Callable, Mapping

from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address, Endpoint
from fastrpc.registries.base.registry import Registry
from fastrpc.server.registrar import Advertise, Record, Registrar, advertised_endpoint, record_of

__all__ = ["Advertising"]


class Advertising:
    """Keeps a registry true to a server.

    Args:
        registry: a URL, or an object that stays its owner's.
        serving: returns the services that are to be called, with their versions.

    Raises:
        ConfigError: the registry is neither.
    """

    def __init__(
        self,
        registry: str | Registry,
        config: ServerConfig,
        serving: Callable[[], Mapping[str, str | None]],
    ) -> None:
        self._registrar = Registrar(registry)
        self._config = config
        self._serving = serving
        # What stands for the listeners.
        self._endpoints: list[Endpoint] = []

    async def add(self, bound: Address, advertise: Advertise) -> None:
        """Register every service at one more address; returns once the registry was told, or is known to be away.

        Raises:
            ConfigError: the address cannot be registered.
            StoreError: the registry refuses it.
        """
        endpoint = advertised_endpoint(bound, advertise)
        if endpoint is None:
            return
        self._endpoints.append(endpoint)
        try:
            self._registrar.want(self._records())
            await self._registrar.settle()
        except BaseException:
            self._endpoints.remove(endpoint)
            if self._serving():
                self.update()
            raise

    def update(self) -> None:
        """Have the registry follow what has changed, without waiting for it."""
        self._registrar.want(self._records())
        self._registrar.follow()

    async def withdraw(self) -> None:
        """Take every record back; waits for the registry, for some seconds at most."""
        await self._registrar.withdraw()

    async def close(self) -> None:
        """Take every record back, and let go of a registry that was opened for it. Closing twice is fine."""
        await self._registrar.close()

    def _records(self) -> dict[Record, Endpoint]:
        return {
            (service, endpoint.address): record_of(endpoint, version, self._config)
            for service, version in self._serving().items()
            for endpoint in self._endpoints
        }
