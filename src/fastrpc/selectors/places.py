"""Filters by place: the client's zone while it can handle its calls, the nearest endpoints, the nearest scope.

::

    listed N, sound S of the client's zone     next zones, sound
    ┌──────────────────────────────┐           ┌──────────────────┐
    │ ● ● ● ● ● ● ● ○ ○ ○          │  headroom × S < N: some join  │ ● ● ● ● …
    └──────────────────────────────┘           └──────────────────┘

The share of the calls that stays in the zone is as in Envoy (`zone aware routing`, and priorities with an
overprovisioning factor of 140): min(1, headroom × S / N). Selectors pick evenly, so the share follows from the number
of endpoints that join, N / headroom − S. Each client adds the first endpoints in its own order. As N / headroom − S is
rarely whole, the last endpoint joins only at a part of the clients, so that the mean over all clients is right.
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError
from fastrpc.place import HINTS, Place, checked_place, coordinates_of
from fastrpc.selectors.base import ClientName, Filter

__all__ = ["Nearest", "closest", "zones"]

logger = logging.getLogger("fastrpc.client")

_IsSound = Callable[[Endpoint], bool]

#: The radius of the earth in meters, as in rpcx and Phobos.
EARTH_METERS: Final = 6_378_100.0

#: If a smaller share of endpoints is healthy, all endpoints are kept, as in Envoy.
PANIC_SHARE: Final = 0.5


def zones(
    order: Sequence[str] = (),
    *,
    place: Place | None = None,
    headroom: float = 1.4,
    client: str | bytes | int | None = None,
) -> Filter:
    """Keep the endpoints of the client's zone, and as many of the next zones as are needed for its load.

    If the number of healthy endpoints of the zone, times `headroom`, is below the number of its listed endpoints,
    healthy endpoints of the next zones join: the zones of `order`, then the region's other zones, then zones by
    distance, then all others. A zone without an endpoint is skipped. If less than half of all endpoints are healthy,
    all are kept.

    A registry may assign endpoints to zones, like Kubernetes' topology hints. These assignments are used if all
    endpoints have a hint and an endpoint is assigned to the client's zone.

    Args:
        order: the zones to use after the client's zone.
        place: the location of this program; None: read from the environment. Without a zone all endpoints are kept, and
            a warning is logged.
        headroom: the load that an endpoint can handle, as a multiple of its usual load. If it is too low, a single
            failure sends calls to other zones; if it is too high, the remaining endpoints are overloaded.
        client: the same name for all clients that have to choose the same endpoints, as key selectors need; None: each
            client chooses separately.

    Raises:
        ConfigError: an argument has the wrong type or range.
    """
    if isinstance(order, str) or not all(isinstance(each, str) for each in order):
        raise ConfigError(f"order is {order!r}, it must be a list of zones")
    if isinstance(headroom, bool) or not isinstance(headroom, int | float) or not 1 <= headroom <= 100:
        raise ConfigError(f"headroom is {headroom!r}, it must be a number from 1 to 100")
    return _Zones(tuple(order), checked_place(place), headroom, ClientName(client))


class _Zones:
    """The filter of `zones`."""

    def __init__(self, order: tuple[str, ...], place: Place, headroom: float, name: ClientName) -> None:
        self._order = order
        self._place = place
        self._headroom = headroom
        self._name = name
        self._has_warned = False

    def __call__(self, endpoints: Sequence[Endpoint], is_sound: _IsSound) -> Sequence[Endpoint]:
        if not self._place.zone:
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "zones() keeps all endpoints: this program has no zone (FASTRPC_ZONE, or place=Place(zone=…))"
                )
            return endpoints
        # Endpoints of weight 0 get no calls, unless all have weight 0.
        weighted = [each for each in endpoints if each.weight] or list(endpoints)
        sound = [each for each in weighted if is_sound(each)]
        if len(sound) < PANIC_SHARE * len(weighted) or not weighted:
            return endpoints
        groups = self._groups(weighted)
        kept = {id(each) for each in self._kept(groups, {id(each) for each in sound})}
        return [each for each in endpoints if id(each) in kept]

    def _kept(self, groups: Sequence[Sequence[Endpoint]], sound: set[int]) -> Iterable[Endpoint]:
        """Return the endpoints to pick from. The first group is the client's zone, or the next zone with endpoints."""
        first, *others = groups
        staying = [each for each in first if id(each) in sound]
        wanted = _weight(first) / self._headroom
        own = taken = _weight(staying)
        kept = list(staying)
        for group in others:
            for each in self._name.ranked([one for one in group if id(one) in sound]):
                if taken >= wanted:
                    return kept
                more = taken + _weight([each])
                is_last = bool(kept) and more > wanted
                if is_last and self._name.share(each.address.place) >= _part(own, taken, more, wanted):
                    return kept
                kept.append(each)
                taken = more
        return kept

    def _groups(self, endpoints: Sequence[Endpoint]) -> list[list[Endpoint]]:
        """Return the endpoints by zone, in the order in which their zones are used."""
        zone, hints = self._place.zone, [_hinted(each) for each in endpoints]
        if all(hints) and any(zone in each for each in hints):
            own = [each for each, allotted in zip(endpoints, hints, strict=True) if zone in allotted]
            rest = [each for each, allotted in zip(endpoints, hints, strict=True) if zone not in allotted]
            return [own, *self._by_zone(rest)]
        return self._by_zone(endpoints)

    def _by_zone(self, endpoints: Sequence[Endpoint]) -> list[list[Endpoint]]:
        groups: dict[str, list[Endpoint]] = {}
        for each in endpoints:
            groups.setdefault(each.zone, []).append(each)
        return [groups[zone] for zone in sorted(groups, key=lambda zone: self._rank(zone, groups[zone]))]

    def _rank(self, zone: str, members: Sequence[Endpoint]) -> tuple[int, float, str]:
        """Return the sort key of a zone; the client's zone is first."""
        if zone == self._place.zone:
            return 0, 0.0, zone
        if zone in self._order:
            return 1, float(self._order.index(zone)), zone
        distance = min((_meters(self._place, each) for each in members), default=math.inf)
        is_near = bool(self._place.region) and members[0].labels.get("region") == self._place.region
        if is_near:
            return 2, distance, zone
        # Endpoints without a zone come last.
        return (4 if math.isinf(distance) else 3) + (not zone), distance, zone


def closest(keep: int = 1, *, place: Place | None = None) -> Filter:
    """Keep the `keep` nearest healthy endpoints, and further ones at the same distance as the last of these.

    Endpoints without coordinates come last. If no endpoint is healthy, all are kept.

    Args:
        keep: the number of endpoints.
        place: the location of this program; None: read from the environment.

    Raises:
        ConfigError: the place has no coordinates, or `keep` is not a number from 1.
    """
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise ConfigError(f"keep is {keep!r}, it must be a whole number from 1")
    here = checked_place(place)
    if here.latitude is None:
        raise ConfigError(
            "closest() needs the coordinates of this program",
            hint="set FASTRPC_LATITUDE and FASTRPC_LONGITUDE, or give place=Place(latitude=…, longitude=…)",
        )

    def nearest(endpoints: Sequence[Endpoint], is_sound: _IsSound) -> Sequence[Endpoint]:
        distances = {id(each): _meters(here, each) for each in endpoints if is_sound(each)}
        if len(distances) <= keep:
            return [each for each in endpoints if id(each) in distances] or endpoints
        farthest = sorted(distances.values())[keep - 1]
        return [each for each in endpoints if distances.get(id(each), math.nan) <= farthest]

    return nearest


class Nearest:
    """Keep the healthy endpoints of the nearest group that has some. If no group has any, keep all endpoints.

    Args:
        label: the label with an endpoint's group.
        order: the groups, nearest first. Endpoints of other groups come last.
        server: the label that the endpoints of one server share.
    """

    def __init__(self, label: str, order: Sequence[str], server: str) -> None:
        self._label, self._server = label, server
        self._ranks = {group: rank for rank, group in enumerate(order)}

    def __call__(self, endpoints: Sequence[Endpoint], is_sound: _IsSound) -> Sequence[Endpoint]:
        groups: dict[int, list[Endpoint]] = {}
        for each in [each for each in endpoints if each.weight] or endpoints:
            if is_sound(each):
                groups.setdefault(self._rank(each), []).append(each)
        return groups[min(groups)] if groups else endpoints

    def of_each_server(self, endpoints: Sequence[Endpoint], is_sound: _IsSound) -> Sequence[Endpoint]:
        """Return one endpoint of each server: the nearest healthy one, or the nearest if none is healthy."""
        found: dict[str, Endpoint] = {}
        for each in sorted(endpoints, key=lambda each: (not is_sound(each), self._rank(each))):
            found.setdefault(each.labels.get(self._server) or each.address.place, each)
        return list(found.values())

    def _rank(self, endpoint: Endpoint) -> int:
        return self._ranks.get(endpoint.labels.get(self._label, ""), len(self._ranks))


def _weight(endpoints: Sequence[Endpoint]) -> int:
    """Return the sum of weights; if all are 0, each counts as 1."""
    return sum(each.weight for each in endpoints) or len(endpoints)


def _part(own: int, taken: int, more: int, wanted: float) -> float:
    """Return the share of clients that add one more endpoint, so that the mean share of own calls is `own / wanted`."""
    if not own:
        return (wanted - taken) / (more - taken)
    without, with_it = own / taken, own / more
    return (without - own / wanted) / (without - with_it)


def _hinted(endpoint: Endpoint) -> frozenset[str]:
    """Return the zones to which a registry assigns an endpoint."""
    return frozenset(filter(None, endpoint.labels.get(HINTS, "").split(",")))


def _meters(place: Place, endpoint: Endpoint) -> float:
    """Return the distance along the surface of the earth (haversine); infinite without coordinates."""
    if place.latitude is None or place.longitude is None:
        return math.inf
    there = coordinates_of(endpoint)
    if there is None:
        return math.inf
    latitude, longitude = math.radians(place.latitude), math.radians(place.longitude)
    other_latitude, other_longitude = math.radians(there[0]), math.radians(there[1])
    half = (
        math.sin((other_latitude - latitude) / 2) ** 2
        + math.cos(latitude) * math.cos(other_latitude) * math.sin((other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_METERS * math.asin(min(1.0, math.sqrt(half)))
