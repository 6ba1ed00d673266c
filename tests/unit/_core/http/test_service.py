"""What all connections of the gateway share."""

from collections import Counter

import pytest

from fastrpc import HTTP, Limits
from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.http.http_method import HttpMethod
from fastrpc._core.http.service import HttpService
from tests.support.gateway_talk import connected, method_of
from tests.support.http_shop import Shop
from tests.support.kept_connection import gate_for

ECHO = "/shop.v1/echo"


@pytest.mark.parametrize(
    "host",
    ["shop.example", "SHOP.example:80", "shop.example.", "10.0.0.1", "10.0.0.1:80", "[::1]", "[::1]:80"],
)
async def test_its_own_names_and_addresses_are_this_server(host: str) -> None:
    async with connected(hosts={"shop.example"}) as talk:
        assert (await talk.post(ECHO, {"text": "a"}, Host=host)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "shop.example.evil.example", "10.0.1", "1.2.3.4.5", "1.2.3.x"]
)
async def test_another_name_is_not_this_server(host: str) -> None:
    async with connected(hosts={"shop.example"}) as talk:
        assert (await talk.post(ECHO, {"text": "a"}, Host=host)).status == 421


async def test_without_names_any_host_is_this_server() -> None:
    async with connected() as talk:
        assert (await talk.post(ECHO, {"text": "a"}, Host="evil.example")).status == 200


async def test_a_method_is_made_at_its_first_call_and_once() -> None:
    made: Counter[str] = Counter()

    def make(route: MethodRoute) -> HttpMethod:
        made[route.method] += 1
        return method_of(route)

    async with connected(make) as talk:
        assert not made
        for _ in range(3):
            await talk.post(ECHO, {"text": "a"})
        await talk.post("/shop.v1/inline", {})
    assert made == {"shop.v1.echo": 1, "shop.v1.inline": 1}


async def test_paths_are_known_as_bytes() -> None:
    async with gate_for(Shop()) as gate:
        place = object()
        service = HttpService(gate, HTTP(), Limits(), method_of, {"/docs": place}, None)
        assert service.paths == {b"/docs": place}
        assert service.gate is gate


async def test_methods_have_no_paths_where_the_setting_says_so() -> None:
    async with connected(http=HTTP(json=False)) as talk:
        assert (await talk.post(ECHO, {"text": "a"})).status == 404
