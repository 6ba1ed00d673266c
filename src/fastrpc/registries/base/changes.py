"""The changes of the list of a service, one by one."""

from collections.abc import AsyncGenerator
from typing import Literal, TypeAlias

from fastrpc.endpoint import Address, Endpoint
from fastrpc.registries.base.registry import Registry
from fastrpc.value_class import value_class

__all__ = ["EndpointChange", "EndpointChangeKind", "changes"]

EndpointChangeKind: TypeAlias = Literal["added", "changed", "removed"]


@value_class
class EndpointChange:
    """An endpoint that came, left, or has another record at the same address."""

    kind: EndpointChangeKind

    #: The present endpoint; of a removed one, the last.
    endpoint: Endpoint


async def changes(registry: Registry, service: str) -> AsyncGenerator[EndpointChange, None]:
    """Yield the changes of the list of a service, first its present endpoints as added.

    ::

        async for change in fastrpc.registries.changes(registry, "arith"):
            print(change.kind, change.endpoint)

    The changes from one list to the next come in the order of their addresses. A reader that is behind misses lists in
    between, as one of `watch` does, but no difference.
    """
    known: dict[Address, Endpoint] = {}
    watch = registry.watch(service)
    try:
        async for snapshot in watch:
            found = {endpoint.address: endpoint for endpoint in snapshot.endpoints}
            for address in sorted({*known, *found}, key=str):
                before, after = known.get(address), found.get(address)
                if after is None:
                    yield EndpointChange("removed", known[address])
                elif before is None:
                    yield EndpointChange("added", after)
                elif before != after:
                    yield EndpointChange("changed", after)
            known = found
    finally:
        await _closed(watch)


async def _closed(watch: object) -> None:
    """Close a watch, or the generator that a registry of others has for one."""
    aclose = getattr(watch, "aclose", None)
    if aclose is not None:
        await aclose()
