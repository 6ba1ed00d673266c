"""The records of a server in its registry: one for each service at each address."""

from collections.abc import Callable, Iterable, Mapping

from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address, Endpoint
from fastrpc.place import Place
from fastrpc.registries.base.registry import RegistryOption
from fastrpc.registries.base.scoped import ScopedRegistry
from fastrpc.server.admin.label import with_pages
from fastrpc.server.registrar import Advertise, Record, Registrar, advertised_endpoint, record_of

__all__ = ["Advertising"]


class Advertising:
    """Keeps the records of a server up to date.

    Args:
        registry: a URL, or an object that its owner closes.
        serving: returns the healthy services with their versions.
        place: where the server runs: zone, region, coordinates.
        admin_address: returns the address of the admin pages, or None.

    Raises:
        ConfigError: the registry is neither a URL nor an object.
    """

    def __init__(
        self,
        registry: RegistryOption,
        config: ServerConfig,
        serving: Callable[[], Mapping[str, str | None]],
        place: Place,
        admin_address: Callable[[], Address | None],
    ) -> None:
        self._registrar = Registrar(registry, config.tls)
        self._config = config
        self._serving = serving
        self._place = place
        self._admin_address = admin_address
        # The advertised endpoint of each listener.
        self._endpoints: list[Endpoint] = []

    def widen(self, address: Address) -> ScopedRegistry:
        """Keep the records in all scopes of an address from now on; return the registry of these scopes."""
        return self._registrar.widen(address)

    async def add(self, places: Iterable[tuple[Address, Advertise]]) -> None:
        """Register every service at further addresses: at all, or after an error at none.

        Returns when the registry has accepted the records, or is known to be unreachable.

        Args:
            places: bound addresses, each with the address to register.

        Raises:
            ConfigError: an address cannot be registered.
            StoreError: the registry refuses a record.
        """
        found = [advertised_endpoint(bound, advertise, self._place) for bound, advertise in places]
        added = [endpoint for endpoint in found if endpoint is not None]
        if not added:
            return
        self._endpoints += added
        try:
            self._registrar.want(self._records())
            await self._registrar.settle()
        except BaseException:
            for endpoint in added:
                self._endpoints.remove(endpoint)
            if self._serving():
                self.update()
            raise

    def scopes(self) -> dict[str, list[str]]:
        """Return the registered addresses in each scope; empty without scopes."""
        found: dict[str, list[str]] = {}
        for endpoint in self._endpoints:
            if scope := self._registrar.scope_of(endpoint):
                found.setdefault(scope, []).append(str(endpoint.address))
        return found

    @property
    def records(self) -> Registrar:
        """The registrar of the records, for admin pages and their acts."""
        return self._registrar

    @property
    def is_registered(self) -> bool:
        """True if the registry has all records, as far as known."""
        return self._registrar.is_registered

    def update(self) -> None:
        """Send changes to the registry without waiting for it."""
        self._registrar.want(self._records())
        self._registrar.follow()

    async def settle(self) -> None:
        """Send changes; return when the registry has them, or is known to be unreachable. Log refusals."""
        self._registrar.want(self._records())
        if await self._registrar.attempt():
            self._registrar.follow()

    async def retire(self) -> None:
        """Mark every record as leaving. Withdraw records from registries that have no such mark."""
        await self._registrar.retire()

    async def withdraw(self) -> None:
        """Withdraw every record; wait for the registry, but only for some seconds."""
        await self._registrar.withdraw()

    async def close(self) -> None:
        """Withdraw every record, and close a registry that was opened here. Closing twice is allowed."""
        await self._registrar.close()

    def _records(self) -> dict[Record, Endpoint]:
        advertise, pages = self._config.admin_advertise, self._admin_address()
        return {
            (service, endpoint.address): with_pages(
                record_of(endpoint, version, self._config), advertise, pages
            )
            for service, version in self._serving().items()
            for endpoint in self._endpoints
        }
