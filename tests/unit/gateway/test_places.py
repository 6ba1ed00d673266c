"""The places of a gateway: one registry, several as one, a server of gRPC."""

from typing import Any

import pytest

from fastrpc import ClientConfig, ConfigError
from fastrpc.gateway.dialing import Dialing
from fastrpc.gateway.places import check_places, places_of

pytestmark = pytest.mark.one_loop

DIAL = Dialing(ClientConfig())
STATIC = ["static://127.0.0.1:1", "static://127.0.0.1:2"]


@pytest.mark.parametrize("count", [1, 2])
async def test_the_servers_of_all_registries_are_called(count: int) -> None:
    check_places(STATIC[:count], DIAL)
    places: Any = places_of(STATIC[:count], DIAL, ClientConfig())
    with places._followed.watch("arith") as watch:
        assert [one.address.port for one in watch.latest.endpoints] == [1, 2][:count]
    assert str(places.client("arith")) == "<Client of arith>"
    assert places.clients() == {"arith"}
    assert await places.names() == []
    await places.close()


@pytest.mark.parametrize(
    ("urls", "told"),
    [
        (["grpc://127.0.0.1:1", STATIC[0]], "grpc://127.0.0.1:1 names a server"),
        ([STATIC[0], "grpcs://127.0.0.1:1"], "grpcs://127.0.0.1:1 names a server"),
        (
            [STATIC[0], "registry://127.0.0.1:1/arith?token=secret"],
            "registry://127.0.0.1:1/arith names a service",
        ),
        ([STATIC[0], "dns://127.0.0.1:53"], "dns://127.0.0.1:53 names a service"),
        ([STATIC[0], STATIC[0]], "a registry is given twice"),
        ([STATIC[0], "nope://127.0.0.1:1"], "no registry has the scheme 'nope'"),
    ],
)
def test_contradictory_urls_are_refused(urls: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        check_places(urls, DIAL)
    assert "secret" not in str(refused.value)
