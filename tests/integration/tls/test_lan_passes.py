"""Servers and clients with LAN passes: holders reach each other, strangers nobody, and a pass is not an identity."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    TLS,
    CallError,
    Client,
    ClientConfig,
    ConfigError,
    ConnectError,
    Server,
    ServerConfig,
    Status,
    UnavailableError,
)
from fastrpc.auth import AnyOf, ClientCertificates, Policy, StaticTokens
from fastrpc.config import Keepalive, Timeouts
from fastrpc.discovery.lan_pass import load_lan_pass
from tests.support.arith import Arith
from tests.support.either_client import CLIENTS, connected
from tests.support.lan_passes import made_pass, put_passes
from tests.support.waiting import eventually

ONE, OTHER, THIRD = range(1, 4)


def pass_file(folder: Path, *numbers: int) -> Path:
    return put_passes(folder / f"{'-'.join(map(str, numbers))}.pass", *map(made_pass, numbers))


def server_config(path: Path, **settings: Any) -> ServerConfig:
    return ServerConfig(tls=load_lan_pass(path).server_tls(), **settings)


def client_config(path: Path, **settings: Any) -> ClientConfig:
    # A busy machine may take longer than the second of the default.
    return ClientConfig(tls=load_lan_pass(path).client_tls(), timeouts=Timeouts(connect=10.0), **settings)


@asynccontextmanager
async def serving(path: Path, *services: Any, **options: Any) -> AsyncIterator[str]:
    async with Server(*(services or (Arith,)), config=server_config(path), **options) as server:
        yield str(await server.listen("tls://127.0.0.1:0"))


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    ("served", "presented"),
    [
        ((ONE,), (ONE,)),
        ((ONE, OTHER), (ONE,)),
        ((OTHER, ONE), (ONE, OTHER)),
        ((ONE,), (ONE, OTHER)),
        ((THIRD, OTHER, ONE), (OTHER, ONE, THIRD)),
    ],
)
async def test_holders_of_the_presented_passes_call_each_other(
    tmp_path: Path, kind: str, served: tuple[int, ...], presented: tuple[int, ...]
) -> None:
    async with serving(pass_file(tmp_path, *served)) as target:
        config = client_config(pass_file(tmp_path, *presented))
        async with connected(kind, target, config=config) as client:
            assert await client.call("arith.mul", 6, 7) == 42


async def refusal(target: str, config: ClientConfig) -> str:
    async with Client(target, config=config) as client:
        with pytest.raises((ConnectError, UnavailableError)) as found:
            await client.call("arith.mul", 6, 7)
    return str(found.value)


async def test_callers_without_the_pass_are_refused(tmp_path: Path) -> None:
    mine, other = pass_file(tmp_path, ONE), pass_file(tmp_path, OTHER)
    async with serving(mine) as target:
        trusting = TLS(ca_file=str(mine), server_name="lan")
        assert "demands a certificate" in await refusal(target, ClientConfig(tls=trusting))
        assert "authority is not trusted" in await refusal(target, client_config(other))
        presenting = TLS(cert_file=str(other), ca_file=str(mine), server_name="lan")
        assert "does not trust the authority" in await refusal(target, ClientConfig(tls=presenting))
        await refusal(target.replace("tls", "tcp"), ClientConfig())
    # Only one that the server also accepts is presented.
    async with serving(mine) as target:
        await refusal(target, client_config(pass_file(tmp_path, OTHER, ONE)))


async def test_a_server_without_the_pass_is_refused(tmp_path: Path) -> None:
    async with serving(pass_file(tmp_path, OTHER)) as target:
        assert "authority is not trusted" in await refusal(target, client_config(pass_file(tmp_path, ONE)))


@pytest.mark.parametrize("demands", [None, False])
async def test_a_server_with_a_pass_that_demands_none_is_refused(
    tmp_path: Path, demands: bool | None
) -> None:
    path = str(pass_file(tmp_path, ONE))
    tls = TLS(cert_file=path) if demands is None else TLS(cert_file=path, ca_file=path)
    with pytest.raises(ConfigError, match="it is a LAN pass, and callers would not need one") as refused:
        async with Server(Who(), config=ServerConfig(tls=tls)) as server:
            await server.listen("tls://127.0.0.1:0")
    assert "--tls-ca" in (refused.value.hint or "")


async def test_a_pass_stands_for_no_host_name(tmp_path: Path) -> None:
    path = pass_file(tmp_path, ONE)
    async with serving(path) as target:
        config = ClientConfig(tls=TLS(cert_file=str(path), ca_file=str(path)))
        assert "for another IP address" in await refusal(target, config)


def caller() -> str | None:
    identity = fastrpc.current_call().identity
    return None if identity is None else identity.name


@fastrpc.service("who")
class Who:
    @fastrpc.method
    async def am_i(self) -> str | None:
        return caller()

    @fastrpc.method(public=True)
    async def asks(self) -> str | None:
        return caller()


TOKEN = "a-token-of-ada-of-thirty-two-letters"

POLICY = """
[[rule]]
who = ["ada"]
allow = ["who.am_i"]

[[rule]]
who = ["anonymous"]
allow = ["who.asks"]
"""


@pytest.mark.parametrize("by", ["dns", "subject"])
async def test_a_pass_is_no_identity(tmp_path: Path, by: str) -> None:
    path = pass_file(tmp_path, ONE)
    shown = {"dns": "lan", "subject": f"CN=fastrpc LAN pass {made_pass(ONE).id}"}[by]
    certificates = ClientCertificates(by=by, allow=[shown])
    authenticate = AnyOf(certificates, StaticTokens({TOKEN: fastrpc.Identity("ada")}))
    (tmp_path / "policy.toml").write_text(POLICY)
    options = {"authenticate": authenticate, "authorize": Policy.from_file(tmp_path / "policy.toml")}
    async with serving(path, Who, **options) as target:
        async with Client(target, config=client_config(path)) as client:
            with pytest.raises(CallError) as found:
                await client.call("who.am_i")
            assert found.value.status is Status.UNAUTHENTICATED
            assert await client.call("who.asks") is None
        async with Client(target, config=client_config(path), credentials=TOKEN) as client:
            assert await client.call("who.am_i") == "ada"


@pytest.mark.one_loop
async def test_passes_are_changed_on_both_sides_while_calls_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastrpc.tls.contexts.LOOK_SECONDS", 0.02)
    old, new = made_pass(ONE), made_pass(OTHER)
    files = [put_passes(tmp_path / name, old) for name in ("server.pass", "client.pass")]
    failures: list[Exception] = []
    config = client_config(files[1], keepalive=Keepalive(max_age=0.1))
    async with serving(files[0]) as target, Client(target, config=config) as client:

        def connections() -> int:
            return int(client.stats()["totals"]["connections"])

        async def call() -> None:
            while True:
                try:
                    assert await client.call("arith.mul", 6, 7) == 42
                except fastrpc.FastRPCError as error:
                    failures.append(error)
                await asyncio.sleep(0)

        load = asyncio.ensure_future(call())
        for passes in ((old, new), (new, old), (new,)):
            for path in files:
                put_passes(path, *passes)
                before = connections()
                await eventually(lambda before=before: connections() >= before + 3)
        load.cancel()
        assert await refusal(target, client_config(pass_file(tmp_path, ONE))) is not None
    assert failures == []
