"""Clients that were given one selector object."""

from typing import Any, cast

import pytest

from fastrpc import Client
from fastrpc._core.balancing.selectors import BaseSelector
from fastrpc.registries import StaticRegistry
from fastrpc.selectors import ConsistentHash, RoundRobin, zone
from tests.support.served import served
from tests.support.who import Who

pytestmark = pytest.mark.one_loop


@pytest.mark.parametrize("selector", [RoundRobin(filters=iter([zone("near")])), ConsistentHash()])
async def test_each_client_of_a_shared_selector_calls_its_own_servers(selector: BaseSelector) -> None:
    async with served(Who("here")) as here, served(Who("there")) as there:
        one = Client("who", registry=StaticRegistry([here]), selector=selector)
        other = Client("who", registry=StaticRegistry([there]), selector=selector)
        async with one, other:
            for _ in range(3):
                assert await one.call(Who.name_of) == "here"
                assert await other.call(Who.name_of) == "there"
        made = cast(Any, other._state.endpoint_set).selector
        assert type(made) is type(selector)
        assert made.filters == selector.filters
