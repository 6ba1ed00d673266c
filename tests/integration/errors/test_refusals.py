"""Invalid arguments are refused where they are given, by a message that names them."""

import math
from collections.abc import Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Client, ConfigError, Endpoint, Server, ServerConfig, SyncClient
from fastrpc.registries import open_registry
from fastrpc.testing import connected
from tests.support.served import served

pytestmark = pytest.mark.one_loop

NOWHERE = "tcp://127.0.0.1:1"
CLIENTS = pytest.mark.parametrize("make", [Client, SyncClient])


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "interceptors is 3, it must be a list"),
        ("log", "interceptors is 'log', it must be a list"),
        ([math.sin, 3], r"interceptors\[1\] is 3, it must be a function"),
        ([str], r"interceptors\[0\] is <class 'str'>, it must be a function"),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda given: Client(NOWHERE, interceptors=given),
        lambda given: SyncClient(NOWHERE, interceptors=given),
        lambda given: Server(Arith, interceptors=given),
        lambda given: fastrpc.serve(Arith, address=NOWHERE, interceptors=given),
    ],
    ids=["Client", "SyncClient", "Server", "serve"],
)
def test_invalid_interceptors_are_refused(make: Callable[[Any], object], given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(given)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tcp://127.0.0.1:0", "has port 0"),
        ("tcp://127.0.0.1:1/arith", "has a path after its port"),
        (b"tcp://127.0.0.1:1", "the target is b'tcp://127.0.0.1:1'"),
        (
            "gopher://arith",
            "no transport has the scheme .gopher. .*registries are any, consul, deimos, dns, etcd, host, kubernetes, ",
        ),
        ("http://127.0.0.1:1", "no transport has the scheme 'http' .*the same port at tcp://"),
        ("memcached://127.0.0.1:11211/arith", "no transport has the scheme 'memcached' .*registries are"),
    ],
)
@CLIENTS
def test_targets_that_nobody_can_connect_to(make: Callable[..., object], target: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(target)


@pytest.mark.parametrize("protocols", [("native",), ("native", "rpcx")])
def test_http_settings_of_a_server_without_http_are_refused(protocols: tuple[str, ...]) -> None:
    config = ServerConfig(protocols=protocols, http=HTTP(jsonrpc=True))
    with pytest.raises(ConfigError, match=r"HTTP is not served.*write protocols=\(.*\"http\"\)"):
        Server(Arith, config=config)


def test_http2_alone_takes_the_settings_of_grpc_web_and_connect() -> None:
    web = HTTP(connect=True, cors_origins=("https://shop.example",), allowed_hosts=("shop.example",))
    Server(Arith, config=ServerConfig(protocols=("grpc",), http=web))
    for http in (HTTP(connect=True, jsonrpc=True), HTTP(cors_origins=("https://shop.example",))):
        with pytest.raises(ConfigError, match=r"HTTP is not served.*write protocols=\(\"grpc\", \"http\"\)"):
            Server(Arith, config=ServerConfig(protocols=("grpc",), http=http))


@pytest.mark.parametrize("url", ["consul://127.0.0.1:8500/arith", "registry://127.0.0.1:8970/arith"])
def test_the_url_of_a_service_is_no_url_of_a_registry(url: str) -> None:
    with pytest.raises(ConfigError, match=r"is more than a registry \(leave /arith out"):
        open_registry(url)
    with pytest.raises(ConfigError, match="is more than a registry"):
        Client("arith", registry=url)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("idempotent", "yes"),
        ("idempotent", 1),
        ("wait_for_ready", "yes"),
        ("hash_key", 1.5),
        ("hash_key", ["a"]),
        ("metadata", "a=b"),
        ("metadata", 3),
    ],
)
@CLIENTS
def test_options_of_another_kind(make: Callable[..., Any], option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{option} is .*it must be"):
        make(NOWHERE).with_options(**{option: value})


@pytest.mark.parametrize("weight", [-1, 1.5, "1", None, True])
def test_weights_that_are_no_whole_numbers(weight: Any) -> None:
    with pytest.raises(ConfigError, match=f"weight is {weight!r}, it must be a whole number from 0"):
        Endpoint(NOWHERE, weight=weight)


async def test_a_server_is_serving_or_not() -> None:
    server = Server(Arith)
    with pytest.raises(ConfigError, match="serving is 'NOT_SERVING', it must be True or False"):
        server.set_serving("NOT_SERVING")  # type: ignore[arg-type]


async def test_a_name_that_fits_into_no_frame_leaves_the_connection_alone() -> None:
    async with connected(Arith) as client:
        assert await client.call(Arith.mul, 6, 7) == 42
        with pytest.raises(ConfigError, match="is longer than 255 characters"):
            await client.call(f"arith.{'x' * 250}")
        with pytest.raises(fastrpc.CallError, match="no method"):
            await client.call(f"arith.{'x' * 249}")
        assert await client.call(Arith.mul, 6, 7) == 42
        assert client.stats()["totals"]["connections"] == 1


async def test_a_selector_that_picks_no_endpoint() -> None:
    class Confused:
        def update(self, endpoints: Any) -> None: ...
        def pick(self, call: Any) -> Any:
            return "first"

        def observe(self, endpoint: Any, seconds: float, error: Any) -> None: ...

    async with served(Arith(), scheme="tcp") as one, served(Arith(), scheme="tcp") as other:
        async with Client([one, other], selector=Confused()) as client:
            with pytest.raises(ConfigError, match=r"Confused\.pick returned first, which is not an endpoint"):
                await client.call(Arith.mul, 6, 7)
