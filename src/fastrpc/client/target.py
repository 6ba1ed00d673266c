"""The target of a client: one address, several, or a service in a registry.

A client with one fixed address has no endpoint set: there is no choice, and a breaker for the only server would hide
the server's error. But a `Pool.breaker` other than the default asks for a breaker, so the set then has one endpoint.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.config import TLS, Breaker, Pool
from fastrpc.endpoint import Address, Endpoint, relayed_host, without_options
from fastrpc.errors import ConfigError
from fastrpc.escaping import without_secrets
from fastrpc.selectors.base import selector_for
from fastrpc.transports.base import names_transport, transport_for
from fastrpc.value_class import value_class

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import Registry

__all__ = ["Target", "endpoints_of", "endpoint_set_for", "target_of"]


#: For each scheme of HTTP, the scheme of the native protocol at the same port.
_OF_HTTP = {"http": "tcp", "https": "tls"}


@value_class
class Target:
    """The endpoints to which calls may go: given addresses, or a service in a registry."""

    #: The given endpoints; empty with a registry.
    endpoints: Sequence[Endpoint]

    registry: "Registry | None" = None

    #: The name of the service in the registry.
    service: str = ""

    #: Whether the client opened the registry and so closes it.
    owns_registry: bool = False

    def tls_for(self, endpoint: Endpoint, own: TLS | None) -> TLS | None:
        """Return the certificates for connections to an endpoint; a registry may have certificates for its servers.

        Args:
            own: the certificates of the client.
        """
        if self.registry is None:
            return own
        # Imported on first use: most clients have no registry.
        from fastrpc.registries.base.registry import tls_for

        return tls_for(self.registry, endpoint, own)

    def check_list(self, endpoints: Sequence[Any]) -> None:
        """Refuse a snapshot that has no list, or has an item that is not an endpoint.

        Raises:
            ConfigError: the snapshot is not usable; the message names the registry.
        """
        # An iterator would be empty after this check.
        is_list = isinstance(endpoints, Collection)
        wrong = [one for one in endpoints if not isinstance(one, Endpoint)] if is_list else [endpoints]
        if wrong:
            watch, kind = f"{type(self.registry).__name__}.watch", "an Endpoint" if is_list else "a list"
            raise ConfigError(
                f"{watch} lists {wrong[0]!r} for {self.service!r}, which is not {kind}",
                hint="let its snapshots have a tuple of endpoints: (Endpoint('tcp://host:port'),)",
            )

    def __str__(self) -> str:
        return self.service if self.registry is not None else ", ".join(map(str, self.endpoints))


def target_of(target: Any, registry: Any, tls: TLS | None = None) -> Target:
    """Return the Target of addresses, of the URL of a service, or of its name together with a registry.

    `tls` are the client's certificates, which an encrypted registry gets as well.

    Raises:
        ConfigError: the target is malformed, no transport or registry supports it, or the registry cannot hold the
            name.
    """
    if registry is not None:
        if not isinstance(target, str) or "://" in target or not target:
            raise ConfigError(
                f"the target is {_shown(target)}, and a registry is given",
                hint="with registry= give the name of the service, such as 'arith'",
            )
        return _followed(registry, target, tls)
    named = _service_of(target)
    if named is not None:
        return _followed(*named, tls)
    if isinstance(target, str) and target and "://" not in target and "/" not in target and ":" not in target:
        raise ConfigError(
            f"{_shown(target)} is not an address",
            hint="write it as tcp://host:port, tls://host:port, grpc://host:port, unix:///path or memory://name; the "
            "name of a service needs registry=",
        )
    return Target(endpoints_of(target))


def _shown(target: Any) -> str:
    return repr(without_secrets(target) if isinstance(target, str) else target)


def _followed(place: Any, service: str, tls: TLS | None) -> Target:
    # Imported on first use: most clients have no registry.
    from fastrpc.registries.base.urls import is_opened, open_registry

    registry = open_registry(place, tls=tls)
    # The method is optional: the Registry interface does not require it of user-defined registries.
    check_service = getattr(registry, "check_service", None)
    if check_service is not None:
        check_service(service)
    return Target((), registry, service, owns_registry=is_opened(place))


def _service_of(target: Any) -> tuple[str, str] | None:
    """Return the registry URL and the service of a target; None if the target is not the URL of a service."""
    if not isinstance(target, str) or "://" not in target or names_transport(target):
        return None
    from fastrpc.registries.base.urls import known_schemes, split_target

    named = split_target(target)
    if named is None:
        scheme, _, rest = without_secrets(target).partition("://")
        try:
            transport_for(Address(scheme.lower(), path=rest))
        except ConfigError as error:
            if scheme.lower() in _OF_HTTP:
                raise ConfigError(
                    error.message,
                    hint="a client speaks fastrpc's own protocol: dial the same port at "
                    f"{_OF_HTTP[scheme.lower()]}:// if the server speaks both; `fastrpc call` takes http://",
                ) from None
            registries = ", ".join(known_schemes())
            raise ConfigError(error.message, hint=f"{error.hint}; registries are {registries}") from None
    return named


def endpoints_of(target: Any) -> list[Endpoint]:
    """Return the endpoints of one address or several.

    Raises:
        ConfigError: an item is not an address, or no transport supports it.
    """
    if not isinstance(target, str | Address | Endpoint | Sequence) or isinstance(target, bytes | bytearray):
        raise ConfigError(f"the target is {target!r}", hint="give an address as text, or a list of addresses")
    targets = [target] if isinstance(target, str | Address | Endpoint) else list(target)
    if not targets:
        raise ConfigError("the list of addresses is empty", hint="give at least one, such as tcp://host:port")
    endpoints = [one if isinstance(one, Endpoint) else Endpoint(Address.parse(one)) for one in targets]
    for endpoint in endpoints:
        transport_for(endpoint.address)
        _check_place(endpoint.address)
    return endpoints


def _check_place(address: Address) -> None:
    """Refuse an address that parses but cannot be dialled."""
    if address.scheme == "relay":
        relayed_host(address)
        if "?" in address.path:
            raise ConfigError(
                f"{without_options(address)} has options, which are for the server that claims the name",
                hint="leave them out; a client has TLS(ca_file=…) and credentials=, a command --ca and --token-file",
            )
        return
    if address.scheme not in {"tcp", "tls"}:
        return
    if not address.port:
        raise ConfigError(f"{address} has port 0", hint="give the port that listen() returned")
    if address.path:
        raise ConfigError(f"{address} has a path after its port", hint=f"write {address.scheme}://host:port")


def endpoint_set_for(target: Target, selector: Any, settings: Pool) -> EndpointSet | None:
    """Return the endpoint set of a target; None for one address without a breaker.

    Raises:
        ConfigError: the selector is invalid.
    """
    chosen = selector_for(selector)
    has_choice = target.registry is not None or len({endpoint.address for endpoint in target.endpoints}) > 1
    if not has_choice and settings.breaker in (None, Breaker()):
        return None
    source = ""
    if target.registry is not None:
        source = f"{target.registry!r} lists no endpoint of {target.service!r}"
    # The attribute is optional: registries of several scopes prefer the nearest one.
    filters = getattr(target.registry, "filters", ())
    return EndpointSet(
        chosen.claimed(), breaker=settings.breaker, outlier=settings.outlier, source=source, filters=filters
    )
