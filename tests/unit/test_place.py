"""`fastrpc.Place`: its arguments, their sources, and its form in a record."""

from typing import Any

import pytest

from fastrpc import Address, ConfigError, Place

ADDRESS = Address.parse("tcp://10.0.0.1:8972")


def test_a_record_has_region_and_coordinates_as_labels() -> None:
    place = Place(zone="a", region="west", latitude=1.5, longitude=-2, labels={"tier": "fast"}, weight=3)
    endpoint = place.endpoint(ADDRESS)
    assert (endpoint.address, endpoint.zone, endpoint.weight) == (ADDRESS, "a", 3)
    assert endpoint.labels == {"tier": "fast", "region": "west", "latitude": "1.5", "longitude": "-2.0"}
    assert Place().endpoint(ADDRESS).labels == {}


def test_the_environment_supplies_missing_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ZONE": "a", "REGION": "west", "LATITUDE": "1.5", "LONGITUDE": "-2"}.items():
        monkeypatch.setenv(f"FASTRPC_{name}", value)
    assert Place() == Place(zone="a", region="west", latitude=1.5, longitude=-2)
    assert Place(zone="b").zone == "b"
    assert (Place(zone="").zone, Place(zone="").region) == ("", "west")
    monkeypatch.setenv("FASTRPC_LATITUDE", "north")
    with pytest.raises(ConfigError, match="FASTRPC_LATITUDE is 'north'"):
        Place()


@pytest.mark.parametrize(
    "options",
    [
        {"latitude": 91, "longitude": 0},
        {"latitude": float("nan"), "longitude": 0},
        {"latitude": "1", "longitude": 0},
        {"latitude": 1},
        {"longitude": 1},
        {"zone": 3},
        {"region": 3},
        {"weight": -1},
        {"labels": {"a": 1}},
        {"region": "west", "labels": {"region": "east"}},
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Place(**options)


def test_places_are_compared_and_shown_by_their_given_values() -> None:
    assert Place(zone="a") == Place(zone="a") != Place(zone="b")
    assert len({Place(zone="a"), Place(zone="a")}) == 1
    assert repr(Place(zone="a", weight=2)) == "Place(zone='a', weight=2)"
    assert Place(zone="a", weight=2).over(zone="b") == Place(zone="b", weight=2)
