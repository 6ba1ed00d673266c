"""The list of a service in Deimos, with a cluster that follows the test."""

from typing import Any

import pytest

from fastrpc import StoreError
from fastrpc.registries.deimos.keys import DeimosLookup
from fastrpc.registries.deimos.node import DeimosAnswer, DeimosNode


class Cluster:
    """Has no keys; answers with an index, or is away."""

    def __init__(self) -> None:
        self.index: int | None = 7

    def get(self, key: str, *, recursive: bool) -> Any:
        if self.index is None:
            raise StoreError("away")
        return DeimosAnswer("get", DeimosNode(key, dir=True), index=self.index)


@pytest.mark.parametrize(("index", "is_restart"), [(7, False), (8, False), (6, True)])
def test_index_that_falls_during_an_outage_is_a_restart(index: int, is_restart: bool) -> None:
    cluster = Cluster()
    lookup = DeimosLookup(cluster, "phobos/arith")  # type: ignore[arg-type]
    assert not lookup.fetch(0.0).is_restart
    cluster.index = None
    with pytest.raises(StoreError, match="away"):
        lookup.fetch(0.0)
    cluster.index = index
    assert lookup.fetch(0.0).is_restart is is_restart
    assert not lookup.fetch(0.0).is_restart
