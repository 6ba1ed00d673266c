"""Changes to the endpoint list of a service, one at a time."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

from fastrpc.endpoint import Address, Endpoint
from fastrpc.registries.base.registry import Registry
from fastrpc.value_class import value_class

__all__ = ["EndpointChange", "EndpointChangeKind", "by_address", "changes", "differences"]

EndpointChangeKind: TypeAlias = Literal["added", "changed", "removed"]


@value_class
class EndpointChange:
    """A change to one endpoint: it was added, removed, or its record at the same address changed."""

    kind: EndpointChangeKind

    #: The current endpoint; after a removal, the removed one.
    endpoint: Endpoint


async def changes(registry: Registry, service: str) -> AsyncGenerator[EndpointChange, None]:
    """Yield the changes of the list of a service; at first its present endpoints count as added.

    ::

        async for change in fastrpc.registries.changes(registry, "arith"):
            print(change.kind, change.endpoint)

    The changes between two lists are yielded in the order of their addresses. A slow reader gets several lists merged
    into one: the changes lead from the last list it saw to the newest.
    """
    known: dict[Address, Endpoint] = {}
    watch = registry.watch(service)
    try:
        async for snapshot in watch:
            found = by_address(snapshot.endpoints)
            for kind, endpoint, _ in differences(known, found):
                yield EndpointChange(kind, endpoint)
            known = found
    finally:
        await _closed(watch)


def by_address(endpoints: Iterable[Endpoint]) -> dict[Address, Endpoint]:
    """Return the endpoints by address."""
    return {endpoint.address: endpoint for endpoint in endpoints}


def differences(
    known: Mapping[Address, Endpoint], found: Mapping[Address, Endpoint]
) -> Iterator[tuple[EndpointChangeKind, Endpoint, Endpoint | None]]:
    """Yield the changes from one list to the next, in the order of addresses.

    A change contains the current endpoint, or the removed one. Only the change of a record also contains the previous
    record.
    """
    for address in sorted({*known, *found}, key=str):
        before, after = known.get(address), found.get(address)
        if after is None:
            yield "removed", known[address], None
        elif before is None:
            yield "added", after, None
        elif before != after:
            yield "changed", after, before


async def _closed(watch: object) -> None:
    """Close a watch, or the generator that a user-defined registry returns instead."""
    aclose = getattr(watch, "aclose", None)
    if aclose is not None:
        await aclose()
