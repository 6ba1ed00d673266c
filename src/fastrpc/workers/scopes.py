"""A plan of several processes at `any://`: the registry of its scopes, and its addresses in them."""

from collections.abc import Sequence
from dataclasses import replace

from fastrpc.endpoint import Address, Endpoint, scopes_among
from fastrpc.workers.plan import Plan

__all__ = ["scopes_of", "with_scopes"]


def with_scopes(plan: Plan) -> Plan:
    """Return a plan with the registry of all scopes, if it listens there; the announcer is its first user."""
    scopes = scopes_among(plan.addresses)
    if scopes is None:
        return plan
    # Imported on first use: most servers have one address.
    from fastrpc.registries.base.scoped import open_scopes

    return replace(plan, registry=open_scopes(scopes, plan.registry, plan.config.tls))


def scopes_of(plan: Plan, addresses: Sequence[Address]) -> dict[str, list[str]]:
    """Return the bound addresses of such a plan in each scope; empty without scopes."""
    found: dict[str, list[str]] = {}
    if scopes_among(plan.addresses) is None:
        return found
    # Imported on first use: most servers have one address.
    from fastrpc.place import Place
    from fastrpc.registries.base.scoped import ScopedRegistry
    from fastrpc.server.registrar import advertised_endpoint

    assert isinstance(plan.registry, ScopedRegistry)
    for bound, advertised in zip(addresses, plan.advertised(), strict=True):
        endpoint: Endpoint | None = advertised_endpoint(bound, advertised, Place())
        if endpoint is not None and (scope := plan.registry.scope_of(endpoint)):
            found.setdefault(scope, []).append(str(endpoint.address))
    return found
