"""A plan with several processes at `any://`: the registry of the scopes, and the addresses in them."""

from collections.abc import Sequence
from dataclasses import replace

from fastrpc.endpoint import Address, Endpoint, names_scopes, scopes_among
from fastrpc.place import checked_place
from fastrpc.workers.plan import Plan
from fastrpc.workers.wanted import WantedSocket

__all__ = ["scopes_of", "with_scopes"]


def with_scopes(plan: Plan) -> Plan:
    """Return a plan with its sockets. For `any://` there is a socket in each scope.

    For `any://` the plan also has the registry of the scopes, which the announcer opens first.

    Raises:
        ConfigError: several processes can listen in none of the scopes.
        StoreError: the host folder cannot be used.
    """
    pairs = list(zip(plan.addresses, plan.advertised(), strict=True))
    scopes = scopes_among(plan.addresses)
    if scopes is None:
        return replace(plan, wanted=tuple(WantedSocket.at(*pair) for pair in pairs))
    # Imported on first use: most servers have one address.
    from fastrpc.registries.base.scoped import open_scopes

    registry = open_scopes(scopes, plan.registry, plan.config.tls)
    place = checked_place(plan.place)
    wanted: list[WantedSocket] = []
    for address, advertise in pairs:
        if names_scopes(address):
            for one in registry.places(is_one_process=False):
                # A program that takes over from this program finds each socket by its scope, because other parts of the
                # address may differ.
                named = Address.parse(f"any://?scopes={one.scope}")
                wanted.append(WantedSocket(named, one.address, one.advertised(place), one.tls))
        else:
            wanted.append(WantedSocket.at(address, advertise))
    return replace(plan, registry=registry, wanted=tuple(wanted))


def scopes_of(plan: Plan, addresses: Sequence[Address]) -> dict[str, list[str]]:
    """Return the bound addresses of a plan in each scope of `any://`; empty without `any://`."""
    found: dict[str, list[str]] = {}
    if scopes_among(plan.addresses) is None:
        return found
    # Imported on first use: most servers have one address.
    from fastrpc.place import Place
    from fastrpc.registries.base.scoped import ScopedRegistry
    from fastrpc.server.registrar import advertised_endpoint

    assert isinstance(plan.registry, ScopedRegistry)
    for bound, wanted in zip(addresses, plan.wanted, strict=True):
        endpoint: Endpoint | None = advertised_endpoint(bound, wanted.advertise, Place())
        if endpoint is not None and (scope := plan.registry.scope_of(endpoint)):
            found.setdefault(scope, []).append(str(endpoint.address))
    return found
