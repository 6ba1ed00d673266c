"""What a client is given to call: one address, several, or a service of a registry.

A client with one fixed address has no endpoint set: there is nothing to choose, and a breaker for the only server would
hide its error. `Pool.breaker` with values other than the default asks for one all the same: an endpoint set of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.config import Breaker, Pool
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError
from fastrpc.selectors.base import selector_for
from fastrpc.transports.base import names_transport, transport_for

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import Registry

__all__ = ["Target", "endpoints_of", "endpoint_set_for", "target_of"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where calls may go."""

    #: Those that were given; a registry tells its own.
    endpoints: Sequence[Endpoint]

    registry: "Registry | None" = None

    #: What the registry is asked for.
    service: str = ""

    #: Whether the client opened the registry, and so has to close it.
    owns_registry: bool = False

    def __str__(self) -> str:
        return self.service if self.registry is not None else ", ".join(map(str, self.endpoints))


def target_of(target: Any, registry: Any) -> Target:
    """Read a target: addresses, the URL of a service, or its name beside a registry.

    Raises:
        ConfigError: it is none of these, no transport or registry serves it, or the registry cannot hold such a name.
    """
    if registry is not None:
        if not isinstance(target, str) or "://" in target or not target:
            raise ConfigError(
                f"the target is {target!r} beside registry={registry!r}",
                hint="give the name of the service, such as 'arith'",
            )
        return _followed(registry, target)
    named = _service_of(target)
    if named is not None:
        return _followed(*named)
    if isinstance(target, str) and target and "://" not in target and "/" not in target and ":" not in target:
        raise ConfigError(
            f"{target!r} is not an address",
            hint="write it as tcp://host:port, unix:///path or memory://name; the name of a service needs registry=",
        )
    return Target(endpoints_of(target))


def _followed(place: Any, service: str) -> Target:
    # Loaded with the first client that wants one: most never do.
    from fastrpc.registries.base.urls import open_registry

    registry = open_registry(place)
    # Only those of fastrpc have it: the interface asks no more of registries of others.
    check_service = getattr(registry, "check_service", None)
    if check_service is not None:
        check_service(service)
    return Target((), registry, service, owns_registry=isinstance(place, str))


def _service_of(target: Any) -> tuple[str, str] | None:
    """Return the URL of a registry and the service in it that a target names; None when it is something else."""
    if not isinstance(target, str) or "://" not in target or names_transport(target):
        return None
    from fastrpc.registries.base.urls import known_schemes, split_target

    named = split_target(target)
    if named is None:
        scheme, _, rest = target.partition("://")
        try:
            transport_for(Address(scheme.lower(), path=rest))
        except ConfigError as error:
            registries = ", ".join(known_schemes())
            raise ConfigError(error.message, hint=f"{error.hint}; registries are {registries}") from None
    return named


def endpoints_of(target: Any) -> list[Endpoint]:
    """Read one address or several.

    Raises:
        ConfigError: it is none, or no transport serves it.
    """
    if not isinstance(target, str | Address | Endpoint | Sequence) or isinstance(target, bytes | bytearray):
        raise ConfigError(f"the target is {target!r}", hint="give an address as text, or a list of addresses")
    targets = [target] if isinstance(target, str | Address | Endpoint) else list(target)
    if not targets:
        raise ConfigError("the list of addresses is empty")
    endpoints = [one if isinstance(one, Endpoint) else Endpoint(Address.parse(one)) for one in targets]
    for endpoint in endpoints:
        transport_for(endpoint.address)
        _check_place(endpoint.address)
    return endpoints


def _check_place(address: Address) -> None:
    """Refuse what can be written, but not be connected to."""
    if address.scheme != "tcp":
        return
    if not address.port:
        raise ConfigError(f"{address} has port 0", hint="give the port that listen() returned")
    if address.path:
        raise ConfigError(f"{address} goes on after its port", hint="write tcp://host:port")


def endpoint_set_for(target: Target, selector: Any, settings: Pool) -> EndpointSet | None:
    """Return what picks among the endpoints of a target; None where there is one address, and nothing to watch over.

    Raises:
        ConfigError: the selector is none.
    """
    chosen = selector_for(selector)
    has_choice = target.registry is not None or len({endpoint.address for endpoint in target.endpoints}) > 1
    if not has_choice and settings.breaker in (None, Breaker()):
        return None
    source = ""
    if target.registry is not None:
        source = f"{target.registry!r} names nobody for {target.service!r}"
    return EndpointSet(chosen, breaker=settings.breaker, outlier=settings.outlier, source=source)
