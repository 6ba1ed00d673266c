"""Settings that are refused."""

from pathlib import Path
from typing import Any

from fastrpc import HTTP, TLS, Client, ClientConfig, Limits, Server, ServerConfig, SyncClient, Timeouts
from fastrpc.auth import Identity, StaticTokens
from fastrpc.config import OpenAPI
from fastrpc.limits import RateLimit
from fastrpc.selectors import version
from tests.support.mistakes.shop import NOWHERE, Raisers, Shop, added_to

__all__ = ["RAISERS"]

RAISERS: Raisers = []
raises = added_to(RAISERS)


@raises
def an_unknown_setting(_: Path) -> None:
    Limits(message_size=3)  # type: ignore[call-arg]


@raises
def a_negative_time(_: Path) -> None:
    Timeouts(call=-1)


@raises
def an_unknown_codec(_: Path) -> None:
    Client(NOWHERE, config=ClientConfig(codec="yaml"))


@raises
def an_unknown_protocol(_: Path) -> None:
    ServerConfig(protocols=("http2",))


@raises
def an_unknown_selector(_: Path) -> None:
    Client(NOWHERE, selector="roundrobin")


@raises
def an_unknown_fail_mode(_: Path) -> None:
    Client(NOWHERE, fail_mode="retry")


@raises
def a_hedge_without_a_loop(_: Path) -> None:
    SyncClient(NOWHERE, fail_mode="failbackup")


@raises
def a_version_without_number(_: Path) -> None:
    version("latest")


@raises
async def a_file_that_is_missing(folder: Path) -> None:
    tls = TLS(cert_file=folder / "cert.pem", key_file=folder / "key.pem")
    async with Server(Shop, config=ServerConfig(tls=tls)) as server:
        await server.listen("tls://127.0.0.1:0")


@raises
def a_key_without_certificate(folder: Path) -> None:
    TLS(key_file=folder / "key.pem")


@raises
async def tls_without_certificate(_: Path) -> None:
    async with Server(Shop) as server:
        await server.listen("tls://127.0.0.1:0")


@raises
async def a_public_address_in_the_clear(_: Path) -> None:
    config = ServerConfig(tls=TLS(cert_file="a", key_file="b"))
    async with Server(Shop, config=config) as server:
        await server.listen("tcp://0.0.0.0:0")


@raises
def a_rate_without_meaning(_: Path) -> None:
    RateLimit(0, 1)


@raises
async def a_mount_without_a_decision(_: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    config = ServerConfig(protocols=("http",), http=HTTP(mounts={"/": app}))
    async with Server(Shop, config=config, authenticate=StaticTokens({"token": Identity("ada")})) as server:
        await server.listen("tcp://127.0.0.1:0")


@raises
def an_empty_title(_: Path) -> None:
    OpenAPI(title="")
