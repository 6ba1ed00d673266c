"""The filter `closest`: the nearest sound endpoints, and all that are as near."""

from collections.abc import Callable

import pytest

from fastrpc import ConfigError, Endpoint, Place
from fastrpc.selectors import closest

HERE = Place(latitude=52.52, longitude=13.405)


def at(name: str, latitude: float | str, longitude: float | str) -> Endpoint:
    labels = {"latitude": str(latitude), "longitude": str(longitude)}
    return Endpoint(f"tcp://{name}:1", labels=labels)


HAMBURG, MUNICH, PARIS = at("hamburg", 53.55, 10.0), at("munich", 48.14, 11.58), at("paris", 48.86, 2.35)
TWIN = at("twin", 53.55, 10.0)
UNKNOWN = Endpoint("tcp://unknown:1")
ALL = [PARIS, UNKNOWN, HAMBURG, MUNICH, TWIN]


def sound_but(*broken: Endpoint) -> Callable[[Endpoint], bool]:
    return lambda each: each not in broken


def test_the_nearest_are_kept_with_all_that_are_as_near() -> None:
    assert closest(place=HERE)(ALL, sound_but()) == [HAMBURG, TWIN]
    assert closest(3, place=HERE)(ALL, sound_but()) == [HAMBURG, MUNICH, TWIN]


def test_broken_ones_are_passed_over_and_those_without_coordinates_come_last() -> None:
    assert closest(place=HERE)(ALL, sound_but(HAMBURG, TWIN)) == [MUNICH]
    assert closest(place=HERE)(ALL, sound_but(HAMBURG, TWIN, MUNICH, PARIS)) == [UNKNOWN]
    assert closest(place=HERE)(ALL, sound_but(*ALL)) == ALL


@pytest.mark.parametrize(("latitude", "longitude"), [("north", "1"), ("91", "1"), ("1", "nan"), ("1", "181")])
def test_invalid_coordinates_count_as_missing(latitude: str, longitude: str) -> None:
    wrong = at("wrong", latitude, longitude)
    assert closest(place=HERE)([wrong, PARIS], sound_but()) == [PARIS]


def test_the_date_line_is_no_border() -> None:
    east, west = at("east", 0, 179.9), at("west", 0, 170.0)
    assert closest(place=Place(latitude=0, longitude=-179.9))([west, east], sound_but()) == [east]


def test_a_client_needs_coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs the coordinates of this program"):
        closest(place=Place(zone="a"))
    monkeypatch.setenv("FASTRPC_LATITUDE", "52.52")
    monkeypatch.setenv("FASTRPC_LONGITUDE", "13.405")
    assert closest()(ALL, sound_but()) == [HAMBURG, TWIN]


@pytest.mark.parametrize("keep", [0, -1, True, "1"])
def test_keep_is_a_number_from_1(keep: int) -> None:
    with pytest.raises(ConfigError, match="keep is"):
        closest(keep, place=HERE)
