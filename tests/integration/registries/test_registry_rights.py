"""Callers that may register services at the embedded registry, and callers that may read its lists."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, ConfigError, Endpoint, Status, StoreError, SyncClient
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.client import credentials
from fastrpc.coordination import RegistryServer, RegistryService
from fastrpc.registries import open_registry
from fastrpc.registries.base import secrets
from fastrpc.registries.base.record import encode_record
from fastrpc.rpc.service import service_definition
from tests.support.certificates import Authority
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

RECORD = encode_record(Endpoint("tcp://127.0.0.1:1")).decode()
CHANGED = encode_record(Endpoint("tcp://127.0.0.1:1", weight=5)).decode()

TOKENS = StaticTokens(
    {
        "token-of-shop": Identity("shop"),
        "token-of-bank": Identity("bank"),
        "token-of-ann": Identity("ann", roles={"reader"}),
        "token-of-eve": Identity("eve"),
    }
)
RULES: list[dict[str, Any]] = [
    {"who": ["shop"], "register": ["shop.**"], "read": ["shop.**"]},
    {"who": ["bank"], "register": ["bank.*"]},
    {"who": ["role:reader"], "read": ["**"], "allow": ["fastrpc.health.check"]},
]

#: The arguments of each method of the registry, for the service `shop.pay` or a lease of it.
METHODS = {
    "register": ("shop.pay", RECORD, 10.0),
    "renew": ("LEASE",),
    "change": ("LEASE", CHANGED),
    "deregister": ("LEASE",),
    "remove": ("shop.pay", "tcp://127.0.0.1:1"),
    "watch": ("shop.pay",),
    "follow": ("shop.pay",),
    "follow_many": ({"shop.pay": ""},),
    "page": ("shop.pay", "x.1", 1, 1_000),
    "services": (),
}


@fastrpc.service("shop.pay")
class Pay:
    @fastrpc.method
    async def amount(self) -> int:
        return 7


@pytest.fixture
async def registry() -> AsyncIterator[RegistryServer]:
    async with RegistryServer("tcp://127.0.0.1:0", authenticate=TOKENS, policy=Policy(RULES)) as server:
        yield server


def token_file(folder: Path, name: str) -> Path:
    file = folder / name
    file.write_text(f"token-of-{name}\n")
    return file


async def call(registry: RegistryServer, token: str | None, method: str, *arguments: Any) -> Any:
    async with Client(registry.address, credentials=token) as client:
        if method.startswith("follow"):
            async with client.stream(f"fastrpc.registry.{method}", *arguments) as messages:
                return await anext(aiter(messages))
        return await client.call(f"fastrpc.registry.{method}", *arguments)


def test_every_method_of_the_registry_is_among_those_that_are_tried() -> None:
    assert set(service_definition(RegistryService).methods) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("token", [None, "token-of-mallory"])
async def test_without_a_known_token_no_method_starts(
    registry: RegistryServer, token: str | None, method: str
) -> None:
    with pytest.raises(fastrpc.FastRPCError) as refused:
        await call(registry, token, method, *METHODS[method])
    assert refused.value.status is Status.UNAUTHENTICATED
    assert refused.value.processed == "no"


@pytest.mark.parametrize("method", [name for name in METHODS if name != "services"])
async def test_without_the_right_a_method_is_refused(
    registry: RegistryServer, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    lease = await call(registry, "token-of-shop", "register", "shop.pay", RECORD, 10.0)
    arguments = [lease if one == "LEASE" else one for one in METHODS[method]]
    right = "register" if method in {"register", "renew", "change", "deregister", "remove"} else "read"
    others = ["token-of-eve", "token-of-bank"]
    if right == "register":
        others.append("token-of-ann")  # who may read all lists
    for token in others:
        name = token.removeprefix("token-of-")
        with pytest.raises(CallError, match=f"{name} may not {right} 'shop.pay'") as refused:
            await call(registry, token, method, *arguments)
        assert refused.value.status is Status.PERMISSION_DENIED
        [record] = [one for one in caplog.records if getattr(one, "identity", "") == name]
        assert (record.name, record.levelno) == ("fastrpc.audit", logging.WARNING)
        assert (record.method, record.reason) == (  # type: ignore[attr-defined]
            f"fastrpc.registry.{method}",
            f"it may not {right} 'shop.pay'",
        )
    # Nothing has changed.
    assert await call(registry, "token-of-shop", "renew", lease) is True
    found = await call(registry, "token-of-ann", "watch", "shop.pay")
    assert found["records"] == [RECORD]


async def test_with_the_right_each_method_works(registry: RegistryServer) -> None:
    lease = await call(registry, "token-of-shop", "register", "shop.pay", RECORD, 10.0)
    for token in ("token-of-shop", "token-of-ann"):
        found = await call(registry, token, "watch", "shop.pay")
        assert found["records"] == [RECORD]
        assert await call(registry, token, "follow", "shop.pay") == found
        assert await call(registry, token, "follow_many", {"shop.pay": ""}) == {"shop.pay": found}
        with pytest.raises(CallError, match="this list has 1 records"):
            await call(registry, token, "page", "shop.pay", found["cursor"], 1, 1_000)
    assert await call(registry, "token-of-shop", "renew", lease) is True
    assert await call(registry, "token-of-shop", "change", lease, CHANGED) is True
    assert (await call(registry, "token-of-ann", "watch", "shop.pay"))["records"] == [CHANGED]
    assert await call(registry, "token-of-shop", "deregister", lease) is True
    await call(registry, "token-of-shop", "register", "shop.pay", RECORD, 10.0)
    for is_there in (True, False):
        assert await call(registry, "token-of-shop", "remove", *METHODS["remove"]) is is_there
    # A lease that has ended belongs to nobody.
    for token in ("token-of-shop", "token-of-eve"):
        assert await call(registry, token, "renew", lease) is False
        assert await call(registry, token, "change", lease, CHANGED) is False
        assert await call(registry, token, "deregister", lease) is False


@pytest.mark.parametrize(
    "service",
    ["shopping", "shop_pay", "bank.branch", "fastrpc", "fastrpc.registry", "fastrpc.health", "**", "*"],
)
async def test_a_right_reaches_no_other_service(registry: RegistryServer, service: str) -> None:
    for token in ("token-of-shop", "token-of-bank"):
        for method, arguments in (("register", (service, RECORD, 10.0)), ("watch", (service,))):
            with pytest.raises(CallError) as refused:
                await call(registry, token, method, *arguments)
            assert refused.value.status is Status.PERMISSION_DENIED


async def test_the_list_of_services_has_those_that_the_caller_may_read(registry: RegistryServer) -> None:
    await call(registry, "token-of-shop", "register", "shop.pay", RECORD, 10.0)
    await call(registry, "token-of-bank", "register", "bank", RECORD, 10.0)
    for limit in (0, 1, 10):
        assert await call(registry, "token-of-shop", "services", "", limit) == {"shop.pay": 1}
    assert await call(registry, "token-of-ann", "services") == {"bank": 1, "shop.pay": 1}
    assert await call(registry, "token-of-eve", "services") == {}


async def test_rules_of_allow_hold_for_the_other_built_in_services(registry: RegistryServer) -> None:
    async with Client(registry.address, credentials="token-of-ann") as client:
        assert await client.call("fastrpc.health.check", "") == "SERVING"
        with pytest.raises(CallError) as refused:
            await client.call("fastrpc.reflection.services")
        assert refused.value.status is Status.PERMISSION_DENIED
    async with Client(registry.address, credentials="token-of-shop") as client:
        with pytest.raises(CallError) as refused:
            await client.call("fastrpc.health.check", "")
        assert refused.value.status is Status.PERMISSION_DENIED


async def test_tokens_without_a_policy_give_every_right() -> None:
    async with RegistryServer("tcp://127.0.0.1:0", authenticate=TOKENS) as server:
        lease = await call(server, "token-of-eve", "register", "shop.pay", RECORD, 10.0)
        assert await call(server, "token-of-bank", "deregister", lease) is True
        with pytest.raises(CallError) as refused:
            await call(server, None, "services")
        assert refused.value.status is Status.UNAUTHENTICATED


async def test_a_right_that_is_taken_ends_streams_and_waiting_calls(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('[[rule]]\nwho = ["eve"]\nread = ["shop.**"]\nregister = ["shop.**"]')
    policy = Policy.from_file(file)
    async with (
        RegistryServer("tcp://127.0.0.1:0", authenticate=TOKENS, policy=policy) as server,
        Client(server.address, credentials="token-of-eve") as client,
    ):
        known = await client.call(RegistryService.watch, "shop.pay")
        waiting = asyncio.ensure_future(client.call(RegistryService.watch, "shop.pay", known.cursor, 60.0))
        async with client.stream(RegistryService.follow, "shop.pay", "", 0.1) as messages:
            assert (await anext(aiter(messages))).records == []
            await eventually(lambda: server.stats()["live"]["calls"] == 2)
            file.write_text('[[rule]]\nwho = ["eve"]\nregister = ["shop.**"]')
            policy.reload()
            await client.call(RegistryService.register, "shop.pay", RECORD, 10.0)
            with pytest.raises(CallError, match="eve may not read") as ended:
                async for message in messages:
                    assert message.records == []
        assert ended.value.status is Status.PERMISSION_DENIED
        with pytest.raises(CallError, match="eve may not read"):
            await waiting


class TestServersAndClients:
    @pytest.mark.parametrize("kind", ["async", "sync"])
    async def test_both_show_the_token_of_their_url(
        self, registry: RegistryServer, tmp_path: Path, kind: str
    ) -> None:
        server_url = f"{registry.url}?token_file={token_file(tmp_path, 'shop')}"
        target = f"{registry.url}/shop.pay?token_file={token_file(tmp_path, 'ann')}"
        async with fastrpc.Server(Pay, registry=server_url) as server:
            await server.listen("tcp://127.0.0.1:0")
            if kind == "async":
                async with Client(target) as client:
                    assert await client.call(Pay.amount) == 7
            else:
                with SyncClient(target) as blocking:
                    assert await asyncio.to_thread(blocking.call, Pay.amount) == 7
        assert await call(registry, "token-of-ann", "services") == {}

    async def test_a_token_may_stand_in_the_url_of_a_program(self, registry: RegistryServer) -> None:
        url = f"{registry.url}?token=token-of-shop"
        async with fastrpc.Server(Pay, registry=url) as server:
            await server.listen("tcp://127.0.0.1:0")
            async with Client("shop.pay", registry=url) as client:
                assert await client.call(Pay.amount) == 7

    @pytest.mark.parametrize(
        ("name", "status"),
        [
            ("bank", Status.PERMISSION_DENIED),
            ("eve", Status.PERMISSION_DENIED),
            ("no", Status.UNAUTHENTICATED),
        ],
    )
    async def test_listen_raises_when_the_registry_refuses_the_server(
        self, registry: RegistryServer, tmp_path: Path, name: str, status: Status
    ) -> None:
        url = f"{registry.url}?token_file={token_file(tmp_path, name)}"
        async with fastrpc.Server(Pay, registry=url) as server:
            with pytest.raises(StoreError) as refused:
                await server.listen("tcp://127.0.0.1:0")
        assert refused.value.status is status
        assert "token-of" not in str(refused.value)

    async def test_a_server_without_a_token_is_told_at_listen(self, registry: RegistryServer) -> None:
        async with fastrpc.Server(Pay, registry=registry.url) as server:
            with pytest.raises(StoreError) as refused:
                await server.listen("tcp://127.0.0.1:0")
        assert refused.value.status is Status.UNAUTHENTICATED

    @pytest.mark.parametrize("kind", ["async", "sync"])
    @pytest.mark.parametrize(
        ("name", "told"), [("bank", "bank may not read 'shop.pay'"), ("no", "not accepted")]
    )
    async def test_a_refused_client_gets_the_reason(
        self, registry: RegistryServer, tmp_path: Path, kind: str, name: str, told: str
    ) -> None:
        target = f"{registry.url}/shop.pay?token_file={token_file(tmp_path, name)}"
        with pytest.raises(fastrpc.FastRPCError, match=told) as refused:
            if kind == "async":
                async with Client(target) as client:
                    await client.call(Pay.amount)
            else:
                with SyncClient(target) as blocking:
                    await asyncio.to_thread(blocking.call, Pay.amount)
        assert "token-of" not in str(refused.value)

    async def test_a_token_is_sent_in_the_clear_if_the_url_allows_it(
        self, registry: RegistryServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The registry stands for one on another machine.
        for module in (secrets, credentials):
            monkeypatch.setattr(module, "is_local", lambda _: False)
        url = f"{registry.url}?token=token-of-shop"
        with pytest.raises(ConfigError, match="in the clear"):
            open_registry(url)
        url += "&allow_insecure=true"
        async with fastrpc.Server(Pay, registry=url) as server:
            await server.listen("tcp://127.0.0.1:0")
            async with Client("shop.pay", registry=url) as client:
                assert await client.call(Pay.amount) == 7

    async def test_tokens_are_shown_over_tls(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        tls = authority.certificate().tls()
        server = RegistryServer("tls://127.0.0.1:0", tls=tls, authenticate=TOKENS, policy=Policy(RULES))
        async with server:
            options = f"ca_file={authority.cert_file}&token_file={token_file(tmp_path, 'ann')}"
            registry: Any = open_registry(f"{server.url}&{options}")
            try:
                assert await asyncio.to_thread(registry.services) == []
            finally:
                await registry.aclose()


class TestRefusedSettings:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ("token_file=/nowhere/token", "the token file '/nowhere/token' cannot be read"),
            ("token=", "a token is empty"),
            ("token=planted%20secret", "a token has a character that is not visible ASCII"),
            ("token=a&token_file=b", "the options token and token_file are both given"),
            ("token=planted&token=secret", "the option token is given 2 times"),
        ],
    )
    def test_a_wrong_token_in_a_url_is_refused_without_showing_it(self, options: str, told: str) -> None:
        with pytest.raises(ConfigError, match=told) as refused:
            open_registry(f"registry://127.0.0.1:1?{options}")
        assert "planted" not in str(refused.value)

    def test_a_token_does_not_travel_in_the_clear(self) -> None:
        with pytest.raises(ConfigError, match="its token would travel in the clear") as refused:
            open_registry("registry://192.0.2.1:1?token=planted")
        assert (refused.value.hint or "").startswith("add tls=true, or allow_insecure=true")
        open_registry("registry://192.0.2.1:1?token=planted&tls=true")

    def test_a_policy_needs_tokens(self) -> None:
        with pytest.raises(ConfigError, match="policy is given without authenticate"):
            RegistryServer(policy=Policy(RULES))

    def test_a_right_for_nobody_identified_is_refused(self) -> None:
        rules = [*RULES, {"who": ["*", "anonymous"], "read": ["**"]}]
        with pytest.raises(ConfigError, match="rule 4 gives anonymous callers a right"):
            RegistryServer(authenticate=TOKENS, policy=Policy(rules))
        # Without such a right the name stands for other methods.
        rules[-1] = {"who": ["anonymous"], "allow": ["fastrpc.health.check"]}
        RegistryServer(authenticate=TOKENS, policy=Policy(rules))

    def test_another_value_than_a_policy_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="policy is a str, it must be a Policy"):
            RegistryServer(authenticate=TOKENS, policy="policy.toml")  # type: ignore[arg-type]
