"""Settings of `fastrpc.asgi`, and settings of its App."""

import pytest

import fastrpc
from fastrpc import (
    TLS,
    App,
    ConfigError,
    Keepalive,
    ServerConfig,
)
from fastrpc.coordination import current_store
from fastrpc.limits import RateLimit
from tests.support.http_shop import Shop
from tests.support.scopes import http, posted, serving

pytestmark = pytest.mark.one_loop

ECHO = "/shop.v1/echo"


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (ServerConfig(tls=TLS(cert_file="a", key_file="b")), "tls"),
        (ServerConfig(protocols=("native", "http")), "protocols"),
        (ServerConfig(protocols=("grpc",)), "protocols"),
        (ServerConfig(proxy_protocol=("10.0.0.0/8",)), "proxy_protocol"),
        (ServerConfig(admin_address="tcp://127.0.0.1:0"), "admin_address"),
        (ServerConfig(spin_microseconds=5), "spin_microseconds"),
        (ServerConfig(keepalive=Keepalive(max_age=60)), "keepalive"),
        (http(trusted_proxies=("10.0.0.0/8",)), "http.trusted_proxies"),
        (http(mounts={"/": "shop:app"}), "http.mounts"),
        (http(http2=False), "http.http2"),
        (http(mount_authenticated=True, mounts={"/": "shop:app"}), "http.mount_authenticated"),
    ],
)
def test_settings_of_listening_servers_are_refused(config: ServerConfig, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"ServerConfig\.{name} is set"):
        fastrpc.asgi(Shop, config=config)


async def test_http_may_be_named_as_the_protocol() -> None:
    async with serving(config=ServerConfig(protocols=("http",))) as app:
        assert (await posted(app, ECHO, {"text": "a"})).value == "a"


async def test_hosts_used_last_keep_their_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrpc.hosting.application._MOST_HOSTS", 2)
    async with serving() as app:
        await posted(app, ECHO, {"text": "a"})
        assert app._serving is not None
        parts_at = app._serving._parts_at
        first, second = parts_at("first"), parts_at("second")
        assert parts_at("first") is first
        parts_at("third")
        assert parts_at("first") is first
        assert parts_at("second") is not second


async def test_an_app_brings_its_settings() -> None:
    bundle = App(Shop, config=http(jsonrpc=True), limits=[RateLimit(1, burst=1)])
    async with serving(bundle) as app:
        body = {"jsonrpc": "2.0", "method": "shop.v1.echo", "params": {"text": "a"}, "id": 1}
        assert (await posted(app, "/jsonrpc", body)).value["result"] == "a"
        assert (await posted(app, ECHO, {"text": "a"})).status == 429


async def test_an_app_brings_its_store() -> None:
    @fastrpc.service("keys")
    class Keys:
        @fastrpc.method
        async def keep(self, key: str) -> bool:
            await current_store().put(key, 1)
            return await current_store().get(key) is not None

    async with serving(App(Keys, store="memory://kept")) as app:
        assert (await posted(app, "/keys/keep", {"key": "a"})).value is True


def test_an_app_comes_without_other_settings() -> None:
    with pytest.raises(ConfigError, match="config is given together with an App"):
        fastrpc.asgi(App(Shop), config=http(jsonrpc=True))
    with pytest.raises(ConfigError, match="no address to register"):
        fastrpc.asgi(App(Shop, registry="consul://127.0.0.1:8500"))


def test_an_unknown_argument_is_explained() -> None:
    with pytest.raises(TypeError, match="call_limits"):
        fastrpc.asgi(Shop, limits=())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="uvicorn"):
        fastrpc.asgi(Shop, port=80)  # type: ignore[call-arg]
