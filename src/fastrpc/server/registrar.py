"""The registrations of a server: one record for each service at each address."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

from fastrpc.cancelling import cancelled
from fastrpc.config import TLS, Backoff, ServerConfig
from fastrpc.config.delays import Delays
from fastrpc.endpoint import Address, Endpoint, copied, scopes_among
from fastrpc.errors import ConfigError, FastRPCError
from fastrpc.place import Place
from fastrpc.registries.base.held import HeldRecord
from fastrpc.registries.base.registry import Registry, RegistryOption
from fastrpc.registries.base.scoped import ScopedRegistry, open_scopes
from fastrpc.registries.base.urls import is_opened, open_registry
from fastrpc.server.override import CONFIGURED, Override
from fastrpc.time_limit import time_limit

__all__ = ["Advertise", "Record", "Registrar", "advertised_endpoint", "record_of"]

logger = logging.getLogger("fastrpc.registry")
life = logging.getLogger("fastrpc.server")

#: Pauses after a refused registration. They are long, because an operator has to change the rules of the registry
#: first.
BACKOFF = Backoff(first=0.2, factor=2.0, longest=10.0, jitter=0.2)

#: The address of a listener to register: None for the bound address, False for no registration.
Advertise: TypeAlias = str | Address | Endpoint | Literal[False] | None

#: A service and its address.
Record: TypeAlias = tuple[str, Address]


class _Held(NamedTuple):
    """A record that a registry has, or will receive after an outage."""

    registry: Registry
    record: HeldRecord


class Registrar:
    """Keeps the records in a registry equal to the records that a server wants.

    If the registry is unreachable, there is no error: the registry object delivers the records after the outage. If a
    registry refuses a record, `settle` raises an error, and `follow` tries again later.

    Args:
        registry: a URL or a list, which this object opens and closes, or a registry object that its owner closes.
        tls: the server's certificates, also for encrypted connections to the registry.

    Raises:
        ConfigError: `registry` is neither a URL, a list nor a registry.
    """

    def __init__(self, registry: RegistryOption, tls: TLS | None = None) -> None:
        self._tls = tls
        self._registry: Registry = open_registry(registry, tls=tls)
        # The registries that this object opened.
        self._owned: list[Registry] = [self._registry] if is_opened(registry) else []
        # The address whose scopes the registry covers, and the registry.
        self._scopes: tuple[Address, ScopedRegistry] | None = None
        # `_configured`: the configured records. `_wanted`: the records to register, which are the configured records
        # with the override applied.
        self._configured: Mapping[Record, Endpoint] = {}
        self._wanted: Mapping[Record, Endpoint] = {}
        self._override = CONFIGURED
        self._is_leaving = False
        self._held: dict[Record, _Held] = {}
        self._settling = asyncio.Lock()
        self._follower: asyncio.Task[None] | None = None
        self._has_changed = asyncio.Event()
        # Set when the follower has sent the newest records.
        self._was_sent = asyncio.Event()
        # The reason why the newest records were refused; "" if they were not.
        self._refusal = ""
        # True if the first registration was logged.
        self._was_told = False
        # The records of the first registration that the registry has not accepted yet.
        self._untaken: set[Record] = set()

    def widen(self, address: Address) -> ScopedRegistry:
        """Register in all scopes of an address, with the current registry as the farthest; return the new registry.

        `settle` and `follow` move the records to the new registry.

        Raises:
            ConfigError: an option of the address is wrong, or differs from the previous one.
        """
        known = [] if self._scopes is None else [self._scopes[0]]
        scopes_among([*known, address])
        if self._scopes is None:
            scopes = open_scopes(address, self._registry, self._tls)
            self._owned.append(scopes)
            self._registry = scopes
            self._scopes = address, scopes
        return self._scopes[1]

    def scope_of(self, endpoint: Endpoint) -> str:
        """Return the scope in which an endpoint is registered; "" without scopes."""
        return "" if self._scopes is None else self._scopes[1].scope_of(endpoint)

    def want(self, records: Mapping[Record, Endpoint]) -> None:
        """Set the configured records. `settle` or `follow` registers them with the override applied."""
        self._configured = records
        self._wanted = {record: self._override.applied(endpoint) for record, endpoint in records.items()}

    @property
    def override(self) -> Override:
        """The changes of operators to the records."""
        return self._override

    @property
    def is_leaving(self) -> bool:
        """True if the server is leaving the registry. Then its records are not changed, only withdrawn."""
        return self._is_leaving

    def configured_weights(self) -> list[int]:
        """Return the different configured weights of the records, sorted."""
        return sorted({endpoint.weight for endpoint in self._configured.values()})

    def set_override(self, override: Override) -> None:
        """Apply another override to all records, and send the changed records in the background.

        Records that the registry refuses are sent again until it accepts them. A leaving server does not change its
        records.
        """
        self._override = override
        if self._configured and not self._is_leaving:
            self.want(self._configured)
            self.follow()

    async def problem(self, seconds: float) -> str:
        """Return why the registry does not have the records, or "".

        Wait, at most `seconds`, until the registry has the records, has refused a record, or is known to be
        unreachable.
        """
        if self._is_leaving or not self._configured:
            return ""
        self.follow()
        try:
            async with time_limit(seconds):
                await self._was_sent.wait()
        except TimeoutError:
            return f"the registry has not accepted the records within {seconds:g} s, they are sent again until it does"
        if self._refusal:
            return f"the registry refuses the records: {self._refusal}"
        return "" if self.is_registered else "the registry is unreachable, it will get the records later"

    async def settle(self) -> None:
        """Send every difference to the registry.

        Raises:
            ConfigError: the registry cannot hold a record.
            StoreError: the registry refuses a record. In both cases the other records are registered.
        """
        if failures := await self.attempt():
            raise failures[0]

    async def attempt(self) -> list[BaseException]:
        """Send every difference to the registry; return an error for each record that could not be sent."""
        async with self._settling:
            extra = [record for record in self._held if record not in self._wanted]
            missing = [record for record in self._wanted if record not in self._held]
            kept = [(record, held) for record, held in self._held.items() if record in self._wanted]
            moving = [record for record, held in kept if held.registry is not self._registry]
            changed = [
                record
                for record, held in kept
                if held.registry is self._registry and held.record.endpoint != self._wanted[record]
            ]
            outcomes = await asyncio.gather(
                *(self._leave(record) for record in extra),
                *(self._enter(record, self._wanted[record]) for record in missing),
                *(self._move(record, self._wanted[record]) for record in moving),
                *(self._held[record].record.change(self._wanted[record]) for record in changed),
                return_exceptions=True,
            )
        failures = [outcome for outcome in outcomes if outcome is not None]
        if self._held and not failures and not self._was_told:
            self._was_told = True
            self._tell_first()
        return failures

    def _tell_first(self) -> None:
        places = ", ".join(sorted({str(place) for _, place in self._held}))
        services = ", ".join(sorted({service for service, _ in self._held}))
        state = "registered" if not self._untaken else "to be registered once the registry is back"
        life.info("%s at %s: %s", state, places, services, extra={"event": "registered"})

    @property
    def is_registered(self) -> bool:
        """True if the registry has every wanted record, as far as known."""
        return all(map(self._has, self._wanted))

    def _has(self, record: Record) -> bool:
        """Return whether the registry has a record, as far as known."""
        held = self._held.get(record)
        return held is not None and held.record.is_registered

    def shown(self) -> list[dict[str, Any]]:
        """Return the wanted records as rows of an admin page."""
        return [
            {
                "service": service,
                "address": str(address),
                "weight": endpoint.weight,
                "configured_weight": self._configured[service, address].weight,
                "is_out": self._override.is_out,
                "is_registered": self._has((service, address)),
            }
            for (service, address), endpoint in self._wanted.items()
        ]

    def follow(self) -> None:
        """Call `attempt` in the background, again and again while the registry refuses. Log each refusal once."""
        self._has_changed.set()
        self._was_sent.clear()
        if self._follower is None or self._follower.done():
            self._follower = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        delays = Delays(BACKOFF)
        refusals: set[str] = set()
        while self._has_changed.is_set():
            self._has_changed.clear()
            failures = await self.attempt()
            # Several records may be refused for the same reason.
            reasons = {str(error): error for error in failures}
            for reason, error in reasons.items():
                if reason not in refusals:
                    trace = None if isinstance(error, FastRPCError) else error
                    logger.error("the registry refuses the registration: %s", reason, exc_info=trace)
            if refusals and not failures:
                logger.info("the registry accepts the registration again")
            refusals = set(reasons)
            self._refusal = "" if not failures else _shown(failures[0])
            if not self._has_changed.is_set():
                self._was_sent.set()
            # After a ConfigError do not try again: the registry can never hold the record.
            if not all(isinstance(error, ConfigError) for error in failures):
                with contextlib.suppress(TimeoutError):
                    async with time_limit(delays.take()):
                        await self._has_changed.wait()
                self._has_changed.set()

    async def _enter(self, record: Record, endpoint: Endpoint) -> None:
        registry = self._registry
        held = HeldRecord(partial(registry.register, record[0]), endpoint)
        await held.enter()
        if not held.is_registered:
            self._untaken.add(record)
        self._held[record] = _Held(registry, held)

    async def _move(self, record: Record, endpoint: Endpoint) -> None:
        # One after the other, because both registries may store the record in the same place.
        await self._leave(record)
        await self._enter(record, endpoint)

    async def _leave(self, record: Record) -> None:
        try:
            await self._held.pop(record).record.leave()
        except Exception:
            # An error of a user-defined registry must not prevent the server from closing.
            logger.exception("%s at %s could not be taken out of the registry", *record)

    async def retire(self) -> None:
        """Mark every record as leaving. Withdraw records from registries that have no such mark."""
        self._is_leaving = True
        await self._stop_following()
        async with self._settling:
            held = list(self._held)
            marks = await asyncio.gather(*(self._retire(record) for record in held))
        retired = {record for record, is_marked in zip(held, marks, strict=True) if is_marked}
        self._wanted = {record: place for record, place in self._wanted.items() if record in retired}
        await self.settle()

    async def _retire(self, record: Record) -> bool:
        try:
            return await self._held[record].record.retire()
        except Exception:
            # A user-defined registry may raise any error. Records without the mark are withdrawn.
            logger.exception("%s at %s could not be marked as leaving", *record)
            return False

    async def withdraw(self) -> None:
        """Withdraw every record; wait for the registry, but only for some seconds."""
        self._is_leaving = True
        self._wanted = {}
        await self._stop_following()
        await self.settle()

    async def _stop_following(self) -> None:
        if self._follower is not None:
            await cancelled([self._follower])

    async def close(self) -> None:
        """Withdraw every record, and close a registry that this object opened. Closing twice is allowed."""
        try:
            await self.withdraw()
        finally:
            for one in reversed(self._owned):
                await one.aclose()


def _shown(failure: BaseException) -> str:
    """Return the reason of an error, for the answer to an operator."""
    return failure.message if isinstance(failure, FastRPCError) else "the log of the server has the reason"


def advertised_endpoint(bound: Address, advertise: Advertise, place: Place) -> Endpoint | None:
    """Return the endpoint to register for a bound address; None for no registration.

    Port 0 in an advertised address means the bound port. A given Endpoint keeps its own place.

    Raises:
        ConfigError: the advertised address is invalid.
    """
    if advertise is False:
        return None
    if advertise is None:
        return place.endpoint(bound)
    address = advertise.address if isinstance(advertise, Endpoint) else Address.parse(advertise)
    if address.host and not address.port:
        address = Address(address.scheme, host=address.host, port=bound.port, path=address.path)
    return copied(advertise, address=address) if isinstance(advertise, Endpoint) else place.endpoint(address)


def record_of(endpoint: Endpoint, version: str | None, config: ServerConfig) -> Endpoint:
    """Return an endpoint with the version of the service and settings of the server added."""
    return copied(
        endpoint,
        version=endpoint.version or version or "",
        protocols=endpoint.protocols or config.protocols,
    )
