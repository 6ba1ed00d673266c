"""The gauges of a client: its connections, its endpoints by state, its circuit breakers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from fastrpc.client.endpoint_plan import EndpointPlan
from fastrpc.client.target import Target
from fastrpc.client.wire import wire_of
from fastrpc.config import ClientConfig
from fastrpc.gauges import Gauge

__all__ = ["client_gauges", "endpoint_rows"]

#: The states of endpoints. "connecting": a dial is in progress. "failed": without a connection after a failure. "idle":
#: not connected so far. "ejected": excluded by the results of calls. "down": excluded by probes.
STATES = ("connected", "connecting", "failed", "idle", "ejected", "down")

#: The states of circuit breakers, by their numbers.
BREAKERS = ("closed", "half open", "open")

#: The most addresses of a target that each row of an admin page names. If each row named all addresses, the page would
#: grow with the square of their number.
NAMED_ADDRESSES = 3


def client_gauges(
    target: Target, subchannels: Sequence[EndpointPlan], config: ClientConfig, *, is_alone: bool = True
) -> Iterator[Gauge]:
    """Yield the gauges of one client. Gauges of several clients of one service are added up.

    Args:
        is_alone: whether the connections belong to this client, and so are counted here.
    """
    connections: Counter[tuple[str, str]] = Counter()
    states: Counter[str] = Counter()
    for subchannel in list(subchannels):
        endpoint = subchannel.endpoint
        if is_alone:
            connections[endpoint.address.scheme, wire_of(endpoint, config)] += len(subchannel.connections)
        states[_state_of(subchannel)] += 1
        if subchannel.endpoint_state is not None:
            state = subchannel.endpoint_state.breaker_state
            yield "fastrpc_client_breaker_state", (str(endpoint.address),), state
    for labels, count in connections.items():
        yield "fastrpc_client_connections", labels, count
    for state in STATES:
        yield "fastrpc_client_endpoints", (str(target), state), states[state]


def endpoint_rows(target: Target, subchannels: Sequence[EndpointPlan]) -> list[dict[str, Any]]:
    """Return a row of an admin page for each endpoint of a client.

    Returns:
        rows with `target` (for a list of addresses, the first of them), `address`, `weight`, `state` (one of `STATES`),
        `breaker` ("closed", "half open" or "open"), the number of attempts `in_flight`, and the number of `connections`
        that accept calls. `breaker` and `in_flight` are None for one fixed address without a breaker.
    """
    rows = []
    name = _short_name(target)
    for subchannel in list(subchannels):
        place = subchannel.endpoint_state
        rows.append(
            {
                "target": name,
                "address": str(subchannel.endpoint.address),
                "weight": subchannel.endpoint.weight,
                "state": _state_of(subchannel),
                "breaker": None if place is None else BREAKERS[place.breaker_state],
                "in_flight": None if place is None else place.in_flight,
                "connections": len(subchannel.connections),
            }
        )
    return rows


def _short_name(target: Target) -> str:
    more = len(target.endpoints) - NAMED_ADDRESSES
    if more <= 0:
        return str(target)
    return f"{', '.join(map(str, target.endpoints[:NAMED_ADDRESSES]))} and {more:,} more"


def _state_of(subchannel: EndpointPlan) -> str:
    place = subchannel.endpoint_state
    if place is not None and place.health.is_down:
        return "down"
    if place is not None and place.health.is_ejected:
        return "ejected"
    if subchannel.connections:
        return "connected"
    if subchannel.is_dialing:
        return "connecting"
    return "idle" if subchannel.error is None else "failed"
