"""`Place`: where a program runs. Servers register it, and clients choose endpoints by it."""

import math
import os
from collections.abc import Mapping
from typing import Any, Final

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError

__all__ = ["HINTS", "Place", "checked_place", "coordinates_of"]

#: The limits of latitudes and longitudes, in degrees.
_LATITUDE: Final = 90.0
_LONGITUDE: Final = 180.0

#: The label with the zones, separated by commas, that should use an endpoint, as in Kubernetes' topology hints.
HINTS: Final = "hints"

#: The properties of a place that registry records contain as labels.
_AS_LABELS: Final = ("region", "latitude", "longitude")


class Place:
    """Where a program runs: its zone and region, its coordinates, and further labels.

    A server registers its place with its addresses; region and coordinates become labels. Missing fields are read from
    the environment: `FASTRPC_ZONE`, `FASTRPC_REGION`, `FASTRPC_LATITUDE`, `FASTRPC_LONGITUDE`.

    Args:
        zone: the smallest area, such as an availability zone; "" is unknown.
        region: the larger area around the zone; "" is unknown.
        latitude, longitude: in degrees, both or neither.
        labels: further texts that selectors filter by.
        weight: the share of the calls, relative to other servers; 0: no calls.

    Raises:
        ConfigError: an argument or a variable has the wrong type or range.
    """

    __slots__ = ("labels", "latitude", "longitude", "region", "weight", "zone")

    zone: str
    region: str
    latitude: float | None
    longitude: float | None
    labels: Mapping[str, str]
    weight: int

    def __init__(
        self,
        *,
        zone: str | None = None,
        region: str | None = None,
        latitude: float | None = None,
        longitude: float | None = None,
        labels: Mapping[str, str] | None = None,
        weight: int = 1,
    ) -> None:
        if latitude is None and longitude is None:
            latitude, longitude = _variable("LATITUDE"), _variable("LONGITUDE")
        self.latitude = _checked_degrees("latitude", latitude, _LATITUDE)
        self.longitude = _checked_degrees("longitude", longitude, _LONGITUDE)
        if (self.latitude is None) != (self.longitude is None):
            missing = "latitude" if self.latitude is None else "longitude"
            raise ConfigError(f"the place has no {missing}", hint="give both coordinates, or neither")
        self.zone = os.environ.get("FASTRPC_ZONE", "") if zone is None else zone
        self.region = os.environ.get("FASTRPC_REGION", "") if region is None else region
        # The constructor of Endpoint checks the other fields.
        made = Endpoint("memory://place", weight=weight, labels=labels, zone=self.zone)
        self.labels, self.weight = made.labels, made.weight
        if not isinstance(self.region, str):
            raise ConfigError(f"region is {self.region!r}, it must be text")
        for name in _AS_LABELS:
            if name in self.labels and getattr(self, name) not in ("", None):
                raise ConfigError(f"the place has {name} twice, once as a label", hint="leave the label out")

    def endpoint(self, address: Address) -> Endpoint:
        """Return the endpoint of a server at this place."""
        given = {name: getattr(self, name) for name in _AS_LABELS}
        labels = {name: str(value) for name, value in given.items() if value not in ("", None)}
        return Endpoint(address, weight=self.weight, labels={**self.labels, **labels}, zone=self.zone)

    def over(self, **fields: Any) -> "Place":
        """Return a copy of this place with other values of some fields."""
        known = {name: getattr(self, name) for name in Place.__slots__}
        return Place(**(known | fields))

    def __repr__(self) -> str:
        parts = [f"{name}={getattr(self, name)!r}" for name in ("zone", "region") if getattr(self, name)]
        if self.latitude is not None:
            parts += [f"latitude={self.latitude!r}", f"longitude={self.longitude!r}"]
        if self.labels:
            parts.append(f"labels={dict(self.labels)!r}")
        if self.weight != 1:
            parts.append(f"weight={self.weight!r}")
        return f"Place({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and all(
            getattr(self, name) == getattr(other, name) for name in Place.__slots__
        )

    def __hash__(self) -> int:
        return hash((self.zone, self.region, self.latitude, self.longitude, self.weight))


def checked_place(place: Place | None) -> Place:
    """Return a place; None means the place of the environment.

    Raises:
        ConfigError: the value is not a Place, or a variable cannot be used.
    """
    if place is None:
        return Place()
    if not isinstance(place, Place):
        raise ConfigError(f"place is {place!r}, it must be a fastrpc.Place", hint="write place=Place(zone=…)")
    return place


def coordinates_of(endpoint: Endpoint) -> tuple[float, float] | None:
    """Return latitude and longitude of an endpoint; None without usable ones."""
    try:
        latitude, longitude = float(endpoint.labels["latitude"]), float(endpoint.labels["longitude"])
    except (KeyError, ValueError):
        return None
    is_usable = abs(latitude) <= _LATITUDE and abs(longitude) <= _LONGITUDE
    return (latitude, longitude) if is_usable else None


def _variable(name: str) -> float | None:
    text = os.environ.get(f"FASTRPC_{name}")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"FASTRPC_{name} is {text!r}, it must be a number of degrees") from None


def _checked_degrees(name: str, value: float | None, most: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.fabs(value) <= most:
        raise ConfigError(f"{name} is {value!r}, it must be a number from -{most:g} to {most:g}")
    return float(value)
