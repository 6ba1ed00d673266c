"""Rights: roles, policies and functions, for both clients; a caller does not learn of methods that it may not call."""

import asyncio
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ConfigError, Server, Status
from fastrpc.auth import Identity, Policy, Route
from fastrpc.testing import connected
from tests.support.either_client import CLIENTS
from tests.support.guarded import TOKENS, Shop, calling, guarded, refusal
from tests.support.raw_peer import raw_client
from tests.support.spellings import other_spellings
from tests.support.wire_frames import Auth, Request, Response, SettingsFrame
from tests.support.wire_parser import Preface

pytestmark = pytest.mark.one_loop

ADA, BOB = "token-of-ada", "token-of-bob"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_role_opens_a_method(kind: str) -> None:
    shop = Shop()
    async with guarded(shop) as target:
        async with calling(kind, target, credentials=ADA) as client:
            assert await client.call(Shop.close_all) == "ada"
        async with calling(kind, target, credentials=BOB) as client:
            error = await refusal(client.call(Shop.close_all))
            assert (error.status, error.processed) == (Status.PERMISSION_DENIED, "no")
            as_ada = client.with_options(metadata={"authorization": f"Bearer {ADA}"})
            assert await as_ada.call(Shop.close_all) == "ada"
            assert (await refusal(client.call(Shop.close_all))).status is Status.PERMISSION_DENIED
        async with calling(kind, target) as client:
            assert (await refusal(client.call(Shop.close_all))).status is Status.UNAUTHENTICATED
    assert shop.started == ["shop.close_all"] * 2


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_policy_decides(kind: str) -> None:
    policy = Policy(
        [
            {"who": ["role:admin"], "allow": ["shop.**"], "deny": ["shop.in_thread"]},
            {"who": ["bob"], "allow": ["shop.who", "shop.count", "fastrpc.reflection.services"]},
        ]
    )
    shop = Shop()
    async with guarded(shop, authorize=policy) as target:
        async with calling(kind, target, credentials=ADA) as client:
            assert await client.call(Shop.who) == "ada"
            assert await client.call(Shop.close_all) == "ada"
            for method in ("shop.in_thread", "fastrpc.health.check", "fastrpc.reflection.services"):
                assert (await refusal(client.call(method))).status is Status.PERMISSION_DENIED
        async with calling(kind, target, credentials=BOB) as client:
            assert await client.call(Shop.who) == "bob"
            async with client.stream(Shop.count, 2) as names:
                assert [name async for name in names] == ["bob"] * 2
            for method, arguments in ((Shop.echo, (b"x",)), (Shop.hello, ()), (Shop.total, ([1],))):
                assert (await refusal(client.call(method, *arguments))).status is Status.PERMISSION_DENIED
        async with calling(kind, target) as client:
            # A public method needs no identity, and the policy still has to allow it.
            assert (await refusal(client.call(Shop.hello))).status is Status.UNAUTHENTICATED
    assert shop.started == ["shop.who", "shop.close_all", "shop.who", "shop.count"]


async def test_roles_and_policy_both_have_to_allow() -> None:
    policy = Policy([{"who": ["bob"], "allow": ["**"]}])
    async with guarded(Shop, authorize=policy) as target:
        for token in (ADA, BOB):
            async with Client(target, credentials=token) as client:
                assert (await refusal(client.call(Shop.close_all))).status is Status.PERMISSION_DENIED


async def test_a_function_is_asked_for_each_call() -> None:
    asked: list[tuple[str, Route]] = []
    is_open = True

    def authorize(identity: Identity | None, route: Route) -> bool:
        asked.append(("nobody" if identity is None else identity.name, route))
        return is_open

    async with guarded(Shop, authorize=authorize) as target, Client(target, credentials=BOB) as client:
        assert await client.call(Shop.who) == "bob"
        assert await client.call(Shop.who) == "bob"
        is_open = False
        assert (await refusal(client.call(Shop.hello))).status is Status.PERMISSION_DENIED
    assert [name for name, _ in asked] == ["bob"] * 3
    route = asked[-1][1]
    assert (route.service, route.method, route.full_name) == ("shop", "hello", "shop.hello")
    assert (route.kind, route.public, route.roles) == ("unary", True, frozenset())


@pytest.mark.parametrize("answer", [None, 1, "yes", ValueError("for the log alone"), SystemExit()])
async def test_a_function_that_gives_no_verdict_refuses(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def authorize(identity: Identity | None, route: Route) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    shop = Shop()
    async with guarded(shop, authorize=authorize) as target, Client(target, credentials=BOB) as client:
        error = await refusal(client.call(Shop.who))
        assert (error.status, error.processed) == (Status.INTERNAL, "no")
        assert "alone" not in str(error)
        as_ada = client.with_options(metadata={"authorization": f"Bearer {ADA}"})
        assert (await refusal(as_ada.call(Shop.who))).status is Status.INTERNAL
    assert shop.started == []
    assert "could not be decided" in caplog.text


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_unknown_method_looks_like_a_forbidden_one(kind: str) -> None:
    policy = Policy([{"who": ["bob"], "allow": ["shop.who"]}])
    async with guarded(Shop, authorize=policy) as target:
        for token in (BOB, None):
            async with calling(kind, target, credentials=token) as client:
                seen = set()
                for name in ("close_all", "close_alx"):
                    error = await refusal(client.call(f"shop.{name}"))
                    seen.add((error.status, error.processed, str(error).replace(name, "…"), error.hint))
                assert len(seen) == 1


async def test_no_other_spelling_of_a_denied_method_starts_it() -> None:
    """200 names on the wire, to a caller that may call everything else."""
    policy = Policy([{"who": ["*"], "allow": ["**"], "deny": ["shop.who", "shop.close_all", "shop.echo"]}])
    shop = Shop()
    spellings = [
        spelling.encode("utf-8", "surrogatepass")
        for method in ("shop.who", "shop.close_all", "shop.echo")
        for spelling in [method, *other_spellings(method)]
    ]
    names = [name for name in dict.fromkeys(spellings) if 0 < len(name) < 256]
    assert len(names) >= 200
    async with guarded(shop, authorize=policy) as target, raw_client(target) as peer:
        peer.send(Preface().encode(), SettingsFrame().encode(), Auth(b"bearer", ADA.encode()).encode())
        for number, name in enumerate(names):
            peer.send(Request(2 * number + 1, name, b"\x90", codec=1).encode())
        for _ in names:
            assert (await peer.next(Response)).status == Status.PERMISSION_DENIED
        peer.send(Request(2 * len(names) + 1, b"shop.in_thread", b"\x90", codec=1).encode())
        assert (await peer.next(Response)).status == Status.OK
    assert shop.started == ["shop.in_thread"]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_reflection_lists_the_methods_that_the_caller_may_call(kind: str) -> None:
    async def listed(token: str, **options: Any) -> dict[str, list[str]]:
        async with guarded(Shop, **options) as target, calling(kind, target, credentials=token) as client:
            services = await client.call("fastrpc.reflection.services")
            return {one["name"]: [method["name"] for method in one["methods"]] for one in services}

    assert "close_all" in (await listed(ADA))["shop"]
    assert "close_all" not in (await listed(BOB))["shop"]
    policy = Policy([{"who": ["bob"], "allow": ["shop.who", "fastrpc.reflection.*"]}])
    assert await listed(BOB, authorize=policy) == {"shop": ["who"], "fastrpc.reflection": ["services"]}


@dataclass
class Book:
    title: str


@dataclass
class Secret:
    books: list[Book]


@fastrpc.service("shelf")
class Shelf:
    @fastrpc.method
    async def title(self, book: Book) -> str:
        return book.title

    @fastrpc.method(roles=("admin",))
    async def hide(self, secret: Secret) -> None: ...


@pytest.mark.parametrize("kind", CLIENTS)
async def test_reflection_describes_only_types_of_methods_that_the_caller_may_call(kind: str) -> None:
    async def types(token: str) -> list[str]:
        async with guarded(Shelf) as target, calling(kind, target, credentials=token) as client:
            shelf = (await client.call("fastrpc.reflection.services"))[0]
            return [one["name"] for one in shelf["types"]]

    assert await types(ADA) == ["Book", "Secret"]
    assert await types(BOB) == ["Book"]


async def test_a_changed_policy_counts_on_open_connections(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nwho = ["bob"]\nallow = ["shop.who", "shop.in_thread"]\n')
    async with Server(Shop, authenticate=TOKENS, authorize=Policy.from_file(path)) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials=BOB) as client:
            assert await client.call(Shop.who) == "bob"
            path.write_text('[[rule]]\nwho = ["bob"]\nallow = ["shop.in_thread"]\n')
            server.reload()
            with pytest.raises(fastrpc.CallError) as caught:
                while await client.call(Shop.who) == "bob":
                    await asyncio.sleep(0.02)
            assert caught.value.status is Status.PERMISSION_DENIED
            assert await client.call(Shop.in_thread) == "bob"


async def test_the_log_tells_an_unknown_method_from_a_forbidden_one(caplog: pytest.LogCaptureFixture) -> None:
    policy = Policy([{"who": ["bob"], "allow": ["shop.in_thread"]}])
    async with Server(Shop, authenticate=TOKENS, authorize=policy) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, credentials="token-of-bob") as client:
            told = []
            with caplog.at_level(logging.WARNING, "fastrpc.audit"):
                for method in ("shop.who", "shop.nope"):
                    with pytest.raises(fastrpc.CallError) as caught:
                        await client.call(method)
                    told.append(caught.value.message.partition(": ")[2])
    reasons = [record.__dict__["reason"] for record in caplog.records if record.name == "fastrpc.audit"]
    assert reasons == ["the caller may not call it", "there is no such method"]
    assert told[0] == told[1]


async def test_unknown_names_of_a_changed_policy_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nwho = ["bob"]\nallow = ["shop.who"]\n')
    async with Server(Shop, authenticate=TOKENS, authorize=Policy.from_file(path)) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        path.write_text('[[rule]]\nwho = ["bob"]\nallow = ["shop.who"]\ndeny = ["shop.in_thraed"]\n')
        with caplog.at_level(logging.WARNING, "fastrpc.audit"):
            server.reload()
            while "'shop.in_thraed' is not a method of 'shop'" not in caplog.text:
                await asyncio.sleep(0.02)
        async with Client(target, credentials=BOB) as client:
            assert await client.call(Shop.who) == "bob"


async def test_rules_without_authentication_are_refused_when_the_server_starts() -> None:
    @fastrpc.service("plain")
    class Plain:
        @fastrpc.method
        async def one(self) -> int:
            return 1

    @fastrpc.service("roles")
    class Roles:
        @fastrpc.method(roles=("admin",))
        async def one(self) -> int:
            return 1

    for source, options in ((Roles, {}), (Plain, {"authorize": lambda identity, route: True})):
        server = Server(source, **options)
        with pytest.raises(ConfigError, match="authenticate"):
            await server.listen("memory://rules")
        await server.close()
    with pytest.raises(ConfigError, match="needs a role"):
        async with connected(Roles):
            pass


async def test_a_service_that_a_running_server_refuses_is_not_served() -> None:
    async with Server() as server, Client(str(await server.listen("memory://refused-later"))) as client:
        with pytest.raises(ConfigError, match="needs a role"):
            server.add(Shop())
        assert (await refusal(client.call(Shop.close_all))).status is Status.UNIMPLEMENTED


async def test_a_policy_with_an_unknown_method_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(Shop, authenticate=TOKENS, authorize=Policy([{"who": ["*"], "allow": ["shop.pya"]}]))
    with pytest.raises(ConfigError, match="'shop.pya' is not a method of 'shop'"):
        await server.start()
    await server.close()
    with caplog.at_level(logging.WARNING, "fastrpc.audit"):
        policy = Policy([{"who": ["*"], "allow": ["bank.*", "shop.who"]}])
        async with Server(Shop, authenticate=TOKENS, authorize=policy):
            pass
    assert "'bank.*' names no service here" in caplog.text


async def test_wrong_authorizers_are_refused() -> None:
    async def later(identity: Identity | None, route: Route) -> bool:
        return True

    several: tuple[Any, ...] = (later, "policy", {}, Policy)
    for wrong in several:
        with pytest.raises(TypeError, match="a Policy, or a plain function"):
            Server(Shop, authenticate=TOKENS, authorize=wrong)


@pytest.mark.parametrize("roles", ["admin", [""], ["a\n"]])
def test_roles_that_nobody_can_have_are_refused(roles: Any) -> None:
    with pytest.raises((ConfigError, TypeError)):
        fastrpc.method(roles=roles)


async def test_refusals_are_logged_with_caller_method_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fastrpc.audit"):
        async with guarded(Shop) as target, Client(target, credentials=BOB) as client:
            for _ in range(50):
                await refusal(client.call(Shop.close_all))
    several = [record for record in caplog.records if record.name == "fastrpc.audit"]
    records = [record for record in several if not hasattr(record, "count")]
    assert 10 <= len(records) < 50
    # Further refusals are logged as numbers: after a record, or separately if no further record comes.
    left_out = sum(int(number) for number in re.findall(r"\((\d+) more were not logged\)", caplog.text))
    left_out += sum(vars(record).get("count", 0) for record in several)
    assert len(records) + left_out == 50
    fields = vars(records[0])
    assert (fields["identity"], fields["method"]) == ("bob", "shop.close_all")
    assert fields["peer"].startswith("tcp://127.0.0.1")
    assert BOB not in caplog.text
