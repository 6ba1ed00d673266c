"""Objects that are named, and imported when a program first uses them."""

from collections.abc import Iterator
from importlib import import_module

import pytest

from fastrpc import first_use
from fastrpc.first_use import load, places, register, registered

#: The groups in which lower rooms look.
OURS = ("registries", "server", "transports")


@pytest.fixture
def group() -> Iterator[str]:
    yield "tests"
    first_use._places.pop("tests", None)


def test_an_object_of_a_group_is_imported_by_its_name(group: str) -> None:
    register(group, {"loads": "json:loads"})
    assert registered(group, "loads")("[1]") == [1]


def test_a_group_shows_parts_that_are_registered_later(group: str) -> None:
    shown = places(group)
    assert dict(shown) == {}
    register(group, {"loads": "json:loads"})
    register(group, {"dumps": "json:dumps"})
    assert dict(shown) == {"loads": "json:loads", "dumps": "json:dumps"}


def test_a_name_that_is_not_registered_is_refused(group: str) -> None:
    register(group, {"loads": "json:loads"})
    with pytest.raises(KeyError, match="dumps"):
        registered(group, "dumps")


def test_each_object_that_the_package_registers_exists() -> None:
    # Their tables lie in the modules that look up schemes.
    import_module("fastrpc.registries.base.urls")
    import_module("fastrpc.transports.base")
    found = {name: load(place) for group in OURS for name, place in places(group).items()}
    assert {"any", "registry", "consul", "relay", "tcp", "Mounts", "open_store"} <= found.keys()
