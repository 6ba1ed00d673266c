"""Several services followed by one watch of a namespace of Kubernetes."""

import threading
import time
from collections.abc import Iterator

import pytest

from fastrpc import Endpoint
from fastrpc.registries.kubernetes.api import ApiAccess
from fastrpc.registries.kubernetes.lookup import SliceLookup
from fastrpc.registries.kubernetes.slices import Reading
from tests.support.apiserver import NAMESPACE, Apiserver, pod, slice_of

pytestmark = pytest.mark.one_loop


@pytest.fixture
def apiserver() -> Iterator[Apiserver]:
    with Apiserver() as server:
        yield server


class Following:
    """A lookup of several services."""

    def __init__(self, apiserver: Apiserver) -> None:
        access = ApiAccess(("127.0.0.1", apiserver.port), NAMESPACE, base="", tls=None, token=None)
        self.lookup = SliceLookup(access, Reading())

    def follow(self, *services: str, again: tuple[str, ...] = ()) -> None:
        self.lookup.follow(frozenset(services), frozenset(again))

    def fetch(self, wait_seconds: float = 2.0) -> dict[str, list[str]]:
        """Return the hosts of the reported lists."""
        return {
            service: sorted(one.address.host for _, one in listing.entries if isinstance(one, Endpoint))
            for service, listing in self.lookup.fetch(wait_seconds).items()
        }


@pytest.fixture
def following(apiserver: Apiserver) -> Iterator[Following]:
    found = Following(apiserver)
    yield found
    found.lookup.close()


def test_one_watch_of_the_namespace_tells_of_several_services(
    apiserver: Apiserver, following: Following
) -> None:
    apiserver.put(
        slice_of("a", "arith", pod("10.0.0.1")),
        slice_of("b", "web", pod("10.0.0.2"), labels={"fastrpc/shop.v1": ""}),
        slice_of("c", "other", pod("10.0.0.3")),
    )
    following.follow("arith", "shop.v1", "missing")
    assert following.fetch() == {"arith": ["10.0.0.1"], "shop.v1": ["10.0.0.2"], "missing": []}
    assert following.fetch(0.01) == {}
    apiserver.put(slice_of("d", "missing", pod("10.0.0.4")))
    assert following.fetch() == {"missing": ["10.0.0.4"]}
    # A further one is known already.
    following.follow("arith", "shop.v1", "missing", "other")
    assert following.fetch() == {"other": ["10.0.0.3"]}
    apiserver.delete("b")
    assert following.fetch() == {"shop.v1": []}
    assert apiserver.watches == 1
    following.follow("arith", "other", again=("arith",))
    assert following.fetch() == {"arith": ["10.0.0.1"], "other": ["10.0.0.3"]}


def test_the_only_service_is_selected_by_the_apiserver(apiserver: Apiserver, following: Following) -> None:
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")), slice_of("b", "web", pod("10.0.0.2")))
    following.follow("arith")
    assert following.fetch() == {"arith": ["10.0.0.1"]}
    assert len(following.lookup._slices.found) == 1
    following.follow("arith", "web")
    assert following.fetch() == {"arith": ["10.0.0.1"], "web": ["10.0.0.2"]}


def test_a_wait_that_is_woken_ends_and_no_change_is_lost(apiserver: Apiserver, following: Following) -> None:
    following.follow("arith", "web")
    following.fetch()
    following.fetch(0.01)
    waking = threading.Thread(target=lambda: until_waiting(following.lookup) or following.lookup.wake())
    waking.start()
    assert following.fetch(30.0) == {}
    waking.join()
    # A wake-up before the wait ends it, too.
    following.lookup.wake()
    assert following.fetch(30.0) == {}
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")))
    assert following.fetch(30.0) == {"arith": ["10.0.0.1"]}


def until_waiting(lookup: SliceLookup) -> None:
    limit = time.monotonic() + 20
    while not lookup._is_waiting and time.monotonic() < limit:
        time.sleep(0.001)
