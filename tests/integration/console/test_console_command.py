"""`fastrpc console` over servers in other processes: dying, starting again, hostile; its rights."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import fastrpc
from fastrpc import Client, Endpoint, Server
from fastrpc.console.views.service import ENDPOINTS_TITLE
from fastrpc.coordination import RegistryService
from fastrpc.escaping import printable
from fastrpc.registries import open_registry
from tests.support.admin_liar import admin_liar, answered
from tests.support.admin_pages import server_with_pages
from tests.support.program import run_program
from tests.support.served import served
from tests.support.viewed import Viewed, viewed
from tests.support.worker_pages import WorkerPages, worker_pages

pytestmark = pytest.mark.one_loop

HOSTILE = "</script>\x1b[2J\u202e\u200b\x00\x9b"

APP = """
import fastrpc
from fastrpc.auth import Identity, StaticTokens


def authorize(identity, route):
    return identity is not None and (identity.name == "detailed" or route.service == "fastrpc.console")


app = fastrpc.App(
    [],
    authenticate=StaticTokens({"figures": Identity("figures"), "detailed": Identity("detailed")}),
    authorize=authorize,
)
"""


@fastrpc.service("work")
class Work:
    @fastrpc.method
    async def where(self) -> int:
        return 1


def url_of(registry: str) -> str:
    return f"registry://{registry.partition('://')[2]}"


def admin_of(pages: WorkerPages) -> str:
    return f"tcp://127.0.0.1:{pages.port}"


def record(pages: WorkerPages) -> Endpoint:
    return Endpoint(pages.address, labels={"admin": admin_of(pages)})


async def check_workers(console: Viewed, pages: WorkerPages) -> None:
    """Call a server with three workers, and see the calls and the processes in its view."""
    async with Client(pages.address) as client:
        for _ in range(20):
            await client.call("work.where")
    counted = {"method": ["where"], "calls": [20]}
    await console.until("methods since it started", "server", counted, server=admin_of(pages), search="where")
    [tree] = [
        one
        for one in (await console.view("server", server=admin_of(pages)))["blocks"]
        if one["kind"] == "Tree"
    ]
    assert sorted(node["name"].split()[0] for node in tree["nodes"]) == [
        *("monitor", "supervisor", "worker", "worker", "worker")
    ]


async def test_servers_that_die_and_come_back_are_followed(tmp_path: Path) -> None:
    for name in ("one", "many", "again"):
        (tmp_path / name).mkdir()
    async with served(RegistryService(), scheme="tcp") as at, AsyncExitStack() as stack:
        url = url_of(at)
        registry = open_registry(url)
        stack.push_async_callback(registry.aclose)
        many = await asyncio.to_thread(stack.enter_context, worker_pages(tmp_path / "many", workers=3))
        await stack.enter_async_context(registry.register("work", record(many)))
        one = await asyncio.to_thread(stack.enter_context, worker_pages(tmp_path / "one", workers=2))
        registered = await stack.enter_async_context(AsyncExitStack())
        await registered.enter_async_context(registry.register("work", record(one)))
        console = await stack.enter_async_context(viewed(tmp_path, "--registry", url))
        await console.until("services", "services", {"service": ["work"], "up": [2], "endpoints": [2]})
        states = {"state": ["ready"] * 2}
        await console.until(ENDPOINTS_TITLE, "service", states, service="work")
        await check_workers(console, many)
        # Killed: its figures stay, with the error.
        one.program.signal(signal.SIGKILL, group=True)
        await console.until("services", "services", {"up": [1], "endpoints": [2]})
        gone = await console.view("server", server=admin_of(one))
        assert gone["blocks"][0]["facts"]["state"] == "unreadable"
        assert gone["blocks"][0]["facts"]["services"] == "work"
        # Another one in its place.
        await registered.aclose()
        again = await asyncio.to_thread(stack.enter_context, worker_pages(tmp_path / "again", workers=2))
        await stack.enter_async_context(registry.register("work", record(again)))
        await console.until("services", "services", {"up": [2], "endpoints": [2]})
        console.program.signal(signal.SIGTERM)
        ended = await asyncio.to_thread(console.program.wait)
        assert ended.code == 0
        assert f"the admin pages at {admin_of(one)} cannot be read" in ended.errors
        # A console that starts anew knows all of them.
        async with viewed(tmp_path, "--registry", url) as fresh:
            await fresh.until("services", "services", {"up": [2], "endpoints": [2]})
            await fresh.until(ENDPOINTS_TITLE, "service", states, service="work")


async def test_lists_outlast_their_registry(tmp_path: Path) -> None:
    async with served(Work(), scheme="tcp") as work:
        async with Server(RegistryService()) as server:
            at = str(await server.listen("tcp://127.0.0.1:0"))
            registry = open_registry(url_of(at))
            async with AsyncExitStack() as stack:
                stack.push_async_callback(registry.aclose)
                await stack.enter_async_context(registry.register("work", Endpoint(str(work))))
                console = await stack.enter_async_context(viewed(tmp_path, "--registry", url_of(at)))
                await console.until("services", "services", {"service": ["work"], "endpoints": [1]})
                await server.close()
                await console.until_error(is_there=True)
                assert [row["service"] for row in await console.rows("services", "services")] == ["work"]
                async with Server(RegistryService()) as again:
                    await again.listen(at)
                    await console.until_error(is_there=False)
                    kinds = [row["event"] for row in await console.rows("events", "console")]
                    assert kinds[:2] == ["registry back", "registry lost"]


def test_a_view_of_a_registry_that_is_down_is_a_failure(tmp_path: Path) -> None:
    arguments = ["-m", "fastrpc", "console", "--registry", "registry://127.0.0.1:1", "--json", "services"]
    ended = run_program(arguments, tmp_path)
    assert (ended.code, ended.output) == (1, "")
    assert "error: the registry cannot be asked: " in ended.errors
    assert "hint: check the address, and that the registry runs there" in ended.errors


async def test_targets_are_shown_while_the_registry_is_down(tmp_path: Path) -> None:
    async with server_with_pages(Work()) as server:
        arguments = ["-m", "fastrpc", "console", "--registry", "registry://127.0.0.1:1", "--json", "services"]
        target = f"http://127.0.0.1:{server.admin.address.port}"
        ended = await asyncio.to_thread(run_program, [*arguments, "--target", target], tmp_path)
    assert ended.code == 1
    assert "error: the registry cannot be asked: " in ended.errors
    [table] = [one for one in json.loads(ended.output)["blocks"] if one["kind"] == "Table"]
    assert [row[0] for row in table["rows"]] == ["work"]


async def test_a_view_is_printed_and_hostile_names_are_escaped(tmp_path: Path) -> None:
    def figures(calls: int) -> bytes:
        row = {"service": HOSTILE, "method": HOSTILE, "side": "server", "protocol": HOSTILE, "in_flight": 0}
        row |= {"calls": {HOSTILE: calls}, "received_bytes": 0, "sent_bytes": 0, "sum_seconds": 0.0}
        told = {"name": HOSTILE, "version": HOSTILE, "state": HOSTILE}
        page = {"server": HOSTILE, "revision": 1, "started": 1.0, "services": [told]}
        return json.dumps(page | {"methods": [row | {"buckets": []}]}).encode()

    counts = iter(range(1_000_000))
    with (
        admin_liar(lambda peer: answered(figures(next(counts)), "200 OK", "Connection: close")(peer)) as liar,
        admin_liar(answered(b"", "302 Found", f"Location: {HOSTILE[:9]}\x1b[2J")) as other,
    ):
        target = ["--target", f"http://127.0.0.1:{liar.port}", "--target", f"http://127.0.0.1:{other.port}"]
        for view in ("services", "console", f"server?server={liar.address}"):
            done = await asyncio.to_thread(
                run_program, ["-m", "fastrpc", "console", *target, "--json", view], tmp_path
            )
            assert (done.code, done.errors) == (0, "")
            assert printable(done.output, multiline=True) == done.output
            assert "script" in str(json.loads(done.output)["blocks"])
        async with viewed(tmp_path, *target) as console:
            written = await asyncio.to_thread(
                console.program.wait_errors, rf"the admin pages at {other.address} cannot be read: .*\n"
            )
            assert "redirects are not followed" in written[0]
            assert printable(console.program.errors, multiline=True) == console.program.errors


@pytest.mark.parametrize("app", [[], ["--app", "fronted:app"]])
async def test_without_authenticate_callers_need_the_printed_token(app: list[str], tmp_path: Path) -> None:
    (tmp_path / "fronted.py").write_text("import fastrpc\napp = fastrpc.App([])\n")
    async with server_with_pages(Work()) as server:
        assert server.admin.address is not None
        target = f"http://127.0.0.1:{server.admin.address.port}"
        async with viewed(tmp_path, "--target", target, *app) as console:
            for service in ("fastrpc.console", "fastrpc.console.detail"):
                for fields in ({}, {"Authorization": "Bearer another"}):
                    answer = await console.http.post(f"/{service}/view", {"name": "services"}, **fields)
                    assert answer.status == 401
            assert (await console.view("services"))["title"] == "services"


async def test_the_reading_token_is_shown_on_this_machine_where_servers_names_the_port(
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text("reading")
    figures = {"server": "a", "revision": 1, "started": 1.0, "methods": []}
    with admin_liar(answered(json.dumps(figures).encode())) as liar:
        async with served(RegistryService(), scheme="tcp") as at, AsyncExitStack() as stack:
            registry = open_registry(url_of(at))
            stack.push_async_callback(registry.aclose)
            record = Endpoint("tcp://127.0.0.1:1", labels={"admin": liar.address})
            await stack.enter_async_context(registry.register("work", record))
            command = ["-m", "fastrpc", "console", "--registry", url_of(at), "--json", "console"]
            command += ["--admin-token-file", str(token)]
            for servers in ([], ["--servers", f"127.0.0.1:{liar.port + 1}"]):
                done = await asyncio.to_thread(run_program, [*command, *servers], tmp_path)
                assert "it is not read" in done.output
                assert "--servers" in done.output
                assert liar.connections == 0
            named = [*command, "--servers", f"127.0.0.1:{liar.port}"]
            done = await asyncio.to_thread(run_program, named, tmp_path)
            assert "it is not read" not in done.output
            assert "\r\nAuthorization: Bearer reading\r\n" in liar.requests[0]


async def test_details_need_a_separate_right(tmp_path: Path) -> None:
    (tmp_path / "fronted.py").write_text(APP)
    async with server_with_pages(Work()) as server:
        assert server.admin.address is not None
        target = f"http://127.0.0.1:{server.admin.address.port}"
        async with viewed(tmp_path, "--target", target, "--app", "fronted:app") as console:
            asked = {"name": "services"}
            statuses = {}
            for token in ("", "figures", "detailed"):
                fields = {"Authorization": f"Bearer {token}"} if token else {}
                for service in ("fastrpc.console", "fastrpc.console.detail"):
                    answer = await console.http.post(f"/{service}/view", asked, **fields)
                    statuses[token, service.rpartition(".")[2]] = answer.status
            assert statuses == {
                ("", "console"): 401,
                ("", "detail"): 401,
                ("figures", "console"): 200,
                ("figures", "detail"): 403,
                ("detailed", "console"): 200,
                ("detailed", "detail"): 200,
            }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "there is nothing to show"),
        (["--target", "http://10.0.0.7:9099"], "neither encrypted nor on this machine"),
        (["--target", "unix:///run/a"], "is not an address of admin pages"),
        (["--target", "http://127.0.0.1:1", "--servers", "a b"], "is not a pattern of servers"),
        (["--target", "http://127.0.0.1:1", "--address", "http://0.0.0.0:0"], "needs TLS"),
        (["--target", "http://127.0.0.1:1", "--address", "https://0.0.0.0:0"], ""),
        (["--target", "http://127.0.0.1:1", "--admin-token-file", "missing"], "missing"),
    ],
)
async def test_a_console_that_would_be_open_or_show_nothing_is_refused(
    arguments: list[str], reason: str, tmp_path: Path
) -> None:
    done = await asyncio.to_thread(run_program, ["-m", "fastrpc", "console", *arguments], tmp_path)
    assert done.code == 2, done
    assert reason in done.errors
