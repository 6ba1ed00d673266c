"""Acts by `fastrpc console` on real servers: rights, records of the servers, state of the console."""

import asyncio
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastrpc.coordination import RegistryServer
from tests.support.admin_liar import admin_liar, answered
from tests.support.admin_pages import OPERATOR, fetch
from tests.support.http_talk import HttpClient
from tests.support.program import Program
from tests.support.source_tree import ROOT
from tests.support.viewed import Viewed, viewed
from tests.support.waiting import eventually
from tests.support.worker_pages import WorkerPages, worker_pages

pytestmark = pytest.mark.one_loop

READER = "token-of-a-reader"
ACT = "/fastrpc.console.act/act"

APP = """
import time

import fastrpc
from fastrpc.auth import Identity
from fastrpc.auth.verdict import Refusal, Verdict

RIGHTS = {
    "figures": {"fastrpc.console"},
    "detailed": {"fastrpc.console", "fastrpc.console.detail"},
    "acting": {"fastrpc.console", "fastrpc.console.act"},
    "expired": {"fastrpc.console", "fastrpc.console.act"},
}


class Tokens:
    version = 0

    def look(self):
        pass

    def handles(self, peer):
        return peer.credentials is not None

    def verify(self, peer):
        if peer.credentials not in RIGHTS:
            return Refusal("its token is unknown")
        until = time.time() - 1 if peer.credentials == "expired" else None
        return Verdict(Identity(peer.credentials), until)


def authorize(identity, route):
    return identity is not None and route.service in RIGHTS[identity.name]


app = fastrpc.App([], authenticate=Tokens(), authorize=authorize)
"""


@asynccontextmanager
async def served_with_operators(
    folder: Path, *, workers: int = 1, **config: Any
) -> AsyncIterator[tuple[WorkerPages, str]]:
    """Yield a program that is registered, has operators and is named by a label; and the URL of its registry."""
    values = {"admin_operators": "operators.toml", "admin_token": READER, **config}
    async with RegistryServer("tcp://127.0.0.1:0") as registry, AsyncExitStack() as stack:
        values["registry"] = registry.url
        pages = worker_pages(folder, workers=workers, config=repr(values))
        yield await asyncio.to_thread(stack.enter_context, pages), registry.url


@asynccontextmanager
async def console_of(folder: Path, registry: str, *arguments: str) -> AsyncIterator[Viewed]:
    (folder / "fronted.py").write_text(APP)
    (folder / "reading").write_text(READER)
    options = ["--registry", registry, "--servers", "127.0.0.0/8", "--admin-token-file", "reading"]
    async with viewed(folder, *options, *arguments) as console:
        yield console


def asked(pages: WorkerPages, name: str, token: str = OPERATOR, **values: Any) -> dict[str, Any]:
    return {"name": name, "servers": [key_of(pages)], "values": values, "token": token}


def key_of(pages: WorkerPages) -> str:
    return f"tcp://127.0.0.1:{pages.port}"


async def is_out(pages: WorkerPages) -> bool:
    """Return whether the records of a server are out, by its own page."""
    shown = {"Authorization": f"Bearer {READER}", "Accept": "application/json"}
    answer = await asyncio.to_thread(fetch, pages.port, "/services", **shown)
    [service] = answer.json["services"]
    return bool(service["is_out"])


@pytest.mark.parametrize("workers", [1, 3])
async def test_the_servers_audit_log_names_the_acting_operator(workers: int, tmp_path: Path) -> None:
    async with served_with_operators(tmp_path, workers=workers) as (pages, registry):
        async with console_of(tmp_path, registry) as console:
            await console.until("services", "services", {"service": ["work"], "up": [1]})
            for name, was in (("out", False), ("in", True)):
                answer = await console.post(ACT, asked(pages, name, was=was))
                [done] = answer.value
                assert (done["server"], done["status"], done["text"]) == (key_of(pages), 200, "")
                assert (done["values"]["before"], done["values"]["after"]) == (was, not was)
                assert await is_out(pages) is not was
                text = rf"WARNING:fastrpc\.audit:act {name} by ada of \S+: .*is_out.*"
                await asyncio.to_thread(pages.program.wait_errors, text)
            [stale] = (await console.post(ACT, asked(pages, "in", was=True))).value
            assert (stale["status"], stale["values"]["now"]) == (409, False)
            assert OPERATOR not in console.program.errors + pages.program.errors


#: The token that callers of the console show, further fields, the token of the operator, and the answers of the console
#: and of the server.
RIGHTS: list[tuple[str | None, dict[str, str], str, int, int | None]] = [
    (None, {}, OPERATOR, 401, None),
    ("unknown", {}, OPERATOR, 401, None),
    # A token that opens pages and servers opens no console.
    (READER, {}, OPERATOR, 401, None),
    (OPERATOR, {}, OPERATOR, 401, None),
    ("figures", {}, OPERATOR, 403, None),
    ("detailed", {}, OPERATOR, 403, None),
    ("expired", {}, OPERATOR, 401, None),
    ("acting", {}, "token-of-a-foreign-operator", 200, 401),
    ("acting", {}, READER, 200, 403),
    # Pages of other origins, and a name of another that leads to this machine.
    (None, {"Host": "evil.example"}, OPERATOR, 401, None),
    (None, {"Origin": "http://evil.example"}, OPERATOR, 403, None),
    ("acting", {"Origin": "http://evil.example"}, OPERATOR, 403, None),
    ("acting", {"Origin": "null"}, OPERATOR, 403, None),
    ("acting", {}, OPERATOR, 200, 200),
]


async def test_acts_need_a_separate_right_and_the_token_of_an_operator(tmp_path: Path) -> None:
    async with served_with_operators(tmp_path) as (pages, registry):
        async with console_of(tmp_path, registry, "--app", "fronted:app") as console:
            console.show("figures")
            await console.until("services", "services", {"service": ["work"], "up": [1]})
            for shown, fields, token, status, of_server in RIGHTS:
                console.show(shown)
                answer = await console.post(ACT, asked(pages, "out", token, was=False), **fields)
                assert answer.status == status, (shown, fields, answer.value)
                if of_server is not None:
                    [done] = answer.value
                    assert done["status"] == of_server, done
                assert await is_out(pages) is (of_server == 200)


async def test_a_form_of_another_page_cannot_ask_for_an_act(tmp_path: Path) -> None:
    async with served_with_operators(tmp_path) as (pages, registry):
        async with console_of(tmp_path, registry) as console:
            await console.until("services", "services", {"service": ["work"], "up": [1]})
            console.show(None)
            body = json.dumps(asked(pages, "out", was=False)).encode()
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                answer = await console.http.ask("POST", ACT, body, Content_Type=kind)
                assert answer.status in (401, 415)
            assert (await console.http.get(f"{ACT}?name=out")).status in (401, 405)
            assert await is_out(pages) is False


async def test_without_servers_or_target_no_act_is_sent(tmp_path: Path) -> None:
    async with served_with_operators(tmp_path, admin_token=None) as (pages, registry):
        async with viewed(tmp_path, "--registry", registry) as console:
            await console.until("services", "services", {"service": ["work"], "up": [1]})
            [refused] = (await console.post(ACT, asked(pages, "out", was=False))).value
            assert refused["status"] == 0
            assert "only if --servers or --target names it" in refused["text"]
        async with viewed(tmp_path, "--target", f"http://127.0.0.1:{pages.port}") as console:
            [done] = (await console.post(ACT, asked(pages, "out", was=False))).value
            assert done["status"] == 200
            assert await is_out(pages)


KEEPING = """
import asyncio
import gc
import logging
import sys

import fastrpc
from fastrpc.console.allowed import AllowedServers
from fastrpc.console.fleet import Fleet
from fastrpc.console.service import ConsoleActService
from fastrpc.endpoint import Address
from fastrpc.interceptors import AccessLog
from tests.support.kept_secrets import holders_of

logging.basicConfig(level=logging.DEBUG, filename="console.log")


@fastrpc.service("looking")
class Looking:
    @fastrpc.method
    async def holders(self) -> list[str]:
        # What only waits for the collector is reached by nothing.
        gc.collect()
        return holders_of()


async def main():
    targets = [Address.parse(one) for one in sys.argv[1:]]
    async with Fleet(None, AllowedServers(()), targets=targets) as fleet:
        server = fastrpc.Server(
            ConsoleActService(fleet),
            Looking(),
            interceptors=[AccessLog("debug", slow_seconds=0.0)],
            config=fastrpc.ServerConfig(protocols=("http",), admin_address="tcp://127.0.0.1:0"),
        )
        async with server:
            address = await server.listen("tcp://127.0.0.1:0")
            print("at", address, flush=True)
            await server.serve_forever()


asyncio.run(main())
"""


def answers_to(token: str) -> list[Callable[[socket.socket], None]]:
    """Return servers of several kinds; one of them gives the token back."""
    return [
        answered(b'{"act":"out"}'),
        answered(b'{"error":"no"}', "403 Forbidden"),
        answered(b"", "302 Found", "Location: http://127.0.0.1:1/"),
        answered(f'{{"error":"no {token}"}}'.encode(), "401 Unauthorized"),
        lambda peer: None,
    ]


async def test_a_console_keeps_no_token_of_an_operator(tmp_path: Path) -> None:
    token = f"planted-{secrets.token_hex(8)}"
    go = threading.Event()

    def held(peer: socket.socket) -> None:
        go.wait(30)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    lies = [held, *answers_to(token)]
    (tmp_path / "keeping.py").write_text(KEEPING)
    async with AsyncExitStack() as stack:
        liars = [stack.enter_context(admin_liar(lie)) for lie in lies]
        keys = [one.address for one in liars]
        program = stack.enter_context(Program(["keeping.py", *keys], tmp_path, {"PYTHONPATH": str(ROOT)}))
        found = await asyncio.to_thread(program.wait_output, r"at tcp://127\.0\.0\.1:(\d+)\n")
        http = await stack.enter_async_context(await HttpClient.to(f"tcp://127.0.0.1:{found[1]}"))
        other = await stack.enter_async_context(await HttpClient.to(f"tcp://127.0.0.1:{found[1]}"))
        request = {"name": "out", "servers": keys, "values": {"was": False}, "token": token}
        acting = asyncio.ensure_future(http.post(ACT, request))
        await eventually(lambda: any(one.startswith("POST /act/out ") for one in liars[0].requests))
        # The search finds a token while an act is under way.
        assert (await other.post("/looking/holders")).value
        go.set()
        done = await acting
        assert [one["status"] for one in done.value] == [200, 200, 403, 504, 401, 504]
        # Mistakes, too, leave no state.
        for changed in ({"servers": "all"}, {"name": "../"}, {"token": f"{token} "}, {"more": 1}):
            assert (await http.post(ACT, request | changed)).status == 400
        # A thread may be about to leave the last act.
        async with asyncio.timeout(60):
            while (await other.post("/looking/holders")).value:
                await asyncio.sleep(0.1)
        program.signal(15)
        await asyncio.to_thread(program.wait)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert kept == []
    assert "fastrpc.console.act" in (tmp_path / "console.log").read_text()
    assert token not in program.errors
