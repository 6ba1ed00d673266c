"""Acts by the console: the servers that get them, and the answers of servers of every kind."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Status
from fastrpc.bounded_http import ANSWER_SECONDS
from fastrpc.console import acts
from fastrpc.console.acts import ActAnswer, act_on
from fastrpc.console.allowed import LOOPBACK, AllowedServers
from fastrpc.console.fleet import SHOWN_SECONDS, Fleet
from fastrpc.coordination import RegistryService
from fastrpc.endpoint import Address, Endpoint
from fastrpc.registries import open_registry
from fastrpc.server.admin import acts as server_acts
from fastrpc.workers.monitoring import acted_workers
from tests.support.admin_liar import admin_liar, answered
from tests.support.admin_pages import OPERATOR, operators_file, server_with_pages
from tests.support.served import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

RECORD = "tcp://127.0.0.1:1"
PAUSE = {"service": "", "serving": False, "was": True}
DONE = answered(json.dumps({"act": "out", "before": False, "after": True}).encode())


@fastrpc.service("acted")
class Acted:
    @fastrpc.method
    async def same(self, number: int) -> int:
        return number


@asynccontextmanager
async def fleet_of(
    *admins: str, record: str = RECORD, servers: tuple[str, ...] = LOOPBACK, **options: Any
) -> AsyncIterator[Fleet]:
    fleet = Fleet(None, AllowedServers(servers, **options))
    address = Address.parse(record)
    records = [
        Endpoint(f"tcp://{address.host}:{number + address.port}", labels={"admin": admin})
        for number, admin in enumerate(admins)
    ]
    fleet.set_endpoints("acted", records)
    try:
        yield fleet
    finally:
        await fleet.__aexit__(None, None, None)


async def only(fleet: Fleet, key: str, name: str = "out", token: str = OPERATOR, **values: Any) -> ActAnswer:
    [answer] = await act_on(fleet, name, [key], values, token)
    return answer


async def test_an_act_changes_a_server_by_the_right_of_the_operator(tmp_path: Path) -> None:
    async with server_with_pages(Acted(), admin_operators=operators_file(tmp_path)) as server:
        key = str(server.admin.address)
        async with fleet_of(key) as fleet:
            done = await only(fleet, key, "serving", **PAUSE)
            assert (done.server, done.status, done.text) == (key, 200, "")
            assert (done.values["before"], done.values["after"]) == (True, False)
            assert not server._health.is_serving("")
            stale = await only(fleet, key, "serving", **PAUSE | {"serving": True})
            assert (stale.status, stale.values["now"]) == (409, False)
            assert "has changed meanwhile" in stale.text
            wrong = await only(fleet, key, "serving", "another-token", **PAUSE)
            assert (wrong.status, wrong.text) == (401, "the token of an operator is missing or wrong")
            unknown = await only(fleet, key, "reboot")
            assert unknown.status == 404
            assert "there is no such act" in unknown.text
            assert not server._health.is_serving("")


@pytest.mark.parametrize("scheme", ["tcp://", "http://", ""])
async def test_an_act_before_the_first_list_waits_for_it(tmp_path: Path, scheme: str) -> None:
    async with (
        server_with_pages(Acted(), admin_operators=operators_file(tmp_path)) as server,
        served(RegistryService(), scheme="tcp") as at,
        contextlib.aclosing(open_registry(f"registry://{at.partition('://')[2]}")) as registry,
        registry.register("acted", Endpoint(RECORD, labels={"admin": str(server.admin.address)})),
    ):
        watched = open_registry(f"registry://{at.partition('://')[2]}")
        async with Fleet(watched, AllowedServers(LOOPBACK)) as fleet:
            assert fleet.servers == {}
            key = f"{scheme}{str(server.admin.address).removeprefix('tcp://')}"
            done = await only(fleet, key, "serving", **PAUSE)
            assert (done.server, done.status, done.text) == (key, 200, "")


async def test_an_act_on_an_unknown_server_tells_that_the_registry_is_down() -> None:
    async with Fleet(open_registry("registry://127.0.0.1:1"), AllowedServers(LOOPBACK)) as fleet:
        answer = await only(fleet, "tcp://127.0.0.1:9")
        assert answer.status == 0
        assert "the console knows no such server: the registry cannot be asked" in answer.text


async def test_errors_of_servers_reach_the_caller(tmp_path: Path) -> None:
    operators = operators_file(tmp_path)
    async with (
        server_with_pages(Acted()) as closed,
        server_with_pages(Acted(), admin_token=OPERATOR[:10], admin_operators=operators) as reading,
    ):
        keys = [str(one.admin.address) for one in (closed, reading)]
        async with fleet_of(*keys) as fleet:
            without = await only(fleet, keys[0], "serving", **PAUSE)
            assert (without.status, without.text) == (404, "it takes no acts: it has no admin_operators")
            reader = await only(fleet, keys[1], "serving", OPERATOR[:10], **PAUSE)
            assert (reader.status, reader.text) == (
                403,
                "the token of this request reads pages, it may not act",
            )
            mistaken = await only(fleet, keys[1], "serving", service="")
            assert (mistaken.status, mistaken.text) == (400, "missing: serving, was")


async def test_answers_come_in_the_order_of_the_servers_each_once() -> None:
    with admin_liar(DONE) as first, admin_liar(answered(b"", "403 Forbidden")) as second:
        async with fleet_of(first.address, second.address) as fleet:
            asked = [second.address, "tcp://127.0.0.1:9", first.address, second.address]
            answers = await act_on(fleet, "out", asked, {"was": False}, OPERATOR)
            assert [(one.server, one.status) for one in answers] == [
                (second.address, 403),
                ("tcp://127.0.0.1:9", 0),
                (first.address, 200),
            ]
            assert answers[1].text == "the console knows no such server"
            [request] = first.requests
            assert request.startswith("POST /act/out HTTP/1.1\r\n")
            assert f"\r\nAuthorization: Bearer {OPERATOR}\r\n" in request


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"servers": ("10.0.0.0/8",)}, "matches no pattern"),
        ({"servers": ()}, "only if --servers names it"),
        ({"record": "tcp://10.0.0.7:1"}, "its server is on another"),
        # Any user of this machine can write a record and listen at a port.
        ({"takes_acts": False}, "only if --servers or --target names it"),
    ],
)
async def test_a_server_outside_gets_no_token_and_no_request(options: dict[str, Any], reason: str) -> None:
    with admin_liar(DONE) as liar:
        async with fleet_of(liar.address, **options) as fleet:
            refused = await only(fleet, liar.address, was=False)
            assert refused.status == 0
            assert reason in refused.text
            assert liar.connections == 0


async def test_a_target_gets_acts() -> None:
    with admin_liar(DONE) as liar:
        fleet = Fleet(None, AllowedServers((), takes_acts=False), targets=[Address.parse(liar.address)])
        assert (await only(fleet, liar.address, was=False)).status == 200
        await fleet.__aexit__(None, None, None)


async def test_a_server_without_pages_gets_no_acts() -> None:
    fleet = Fleet(None, AllowedServers())
    fleet.set_endpoints("acted", [Endpoint(RECORD)])
    answer = await only(fleet, RECORD)
    assert (answer.status, answer.text) == (0, "it has no admin pages in its record")
    await fleet.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("name", "token", "count", "text"),
    [
        ("../figures", OPERATOR, 1, "a name of small letters"),
        ("out HTTP/1.1\r\n", OPERATOR, 1, "a name of small letters"),
        ("", OPERATOR, 1, "a name of small letters"),
        ("out", "a token", 1, "visible ASCII"),
        ("out", "token\r\nHost: evil", 1, "visible ASCII"),
        ("out", "", 1, "visible ASCII"),
        ("out", OPERATOR, 257, "the most are 256"),
    ],
)
async def test_acts_that_cannot_be_sent_are_refused(name: str, token: str, count: int, text: str) -> None:
    with admin_liar(DONE) as liar:
        async with fleet_of(liar.address) as fleet:
            with pytest.raises(CallError, match=text) as refused:
                await act_on(fleet, name, [liar.address] * count, {}, token)
            assert refused.value.status is Status.INVALID_ARGUMENT
            assert not token or token not in str(refused.value)
            assert liar.connections == 0


def silent(peer: socket.socket) -> None:
    peer.recv(1)


def endless(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        peer.sendall(b"1000\r\n" + bytes(4_096) + b"\r\n")


def told(**values: Any) -> Callable[[socket.socket], None]:
    return answered(json.dumps(values).encode())


LIES: dict[str, tuple[Callable[[socket.socket], None], int, str]] = {
    "endless": (endless, 504, "more bytes than the limit"),
    "one GiB": (answered(b"", "200 OK", "Content-Length: 1073741824"), 504, "may have been carried out"),
    "silent": (silent, 504, "may have been carried out: no answer in time"),
    "closed": (lambda peer: None, 504, "may have been carried out"),
    "redirect": (
        answered(b"", "302 Found", "Location: http://127.0.0.1:1/"),
        504,
        "redirects are not followed",
    ),
    "no JSON": (answered(b"<html>"), 200, "does not fit"),
    "no object": (answered(b"[1]"), 200, "does not fit"),
    "a large number": (told(after=1 << 70), 200, "does not fit"),
    "deep": (answered(b'{"after":' + b"[" * 10_000), 200, "does not fit"),
    "many values": (told(after=[1] * 2_000), 200, "does not fit"),
    "a problem": (told(problem="the registry\x1b[2J is away"), 200, "the registry\\x1b[2J is away"),
    "a text of another kind": (told(problem=[1]), 200, ""),
    "a long error": (answered(b"e" * 60_000, "500 Internal Server Error"), 500, "e" * 500),
}


@pytest.mark.parametrize("name", LIES)
async def test_an_answer_that_lies_is_bounded_and_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lie, status, text = LIES[name]
    monkeypatch.setattr(acts, "HELD_SECONDS", 0.0)
    with admin_liar(lie) as liar:
        async with fleet_of(liar.address) as fleet:
            answer = await only(fleet, liar.address, was=False)
            assert answer.status == status
            assert text in answer.text
            assert len(answer.text) <= 600
            assert OPERATOR not in str(answer)


async def test_nothing_is_sent_if_nothing_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        key = f"tcp://127.0.0.1:{held.getsockname()[1]}"
        async with fleet_of(key) as fleet:
            assert (await only(fleet, key)).status == 0


async def test_at_most_sixteen_servers_are_asked_at_once() -> None:
    go, held, lock = threading.Event(), [0, 0], threading.Lock()

    def counted(peer: socket.socket) -> None:
        with lock:
            held[0] += 1
            held[1] = max(held)
        go.wait(30)
        with lock:
            held[0] -= 1
        DONE(peer)

    with ExitStack() as stack:
        liars = [stack.enter_context(admin_liar(counted)) for _ in range(24)]
        async with fleet_of(*(one.address for one in liars)) as fleet:
            keys = [one.address for one in liars]
            acting = asyncio.ensure_future(act_on(fleet, "out", keys, {"was": False}, OPERATOR))
            await eventually(lambda: held[0] == 16)
            go.set()
            assert {one.status for one in await acting} == {200}
            assert held[1] == 16


async def test_servers_whose_turn_comes_late_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    go, held = threading.Event(), list[socket.socket]()

    def counted(peer: socket.socket) -> None:
        held.append(peer)
        go.wait(30)
        DONE(peer)

    with ExitStack() as stack:
        liars = [stack.enter_context(admin_liar(counted)) for _ in range(24)]
        async with fleet_of(*(one.address for one in liars)) as fleet:
            began = fleet.clock()
            monkeypatch.setattr(fleet, "clock", lambda: began)
            keys = [one.address for one in liars]
            acting = asyncio.ensure_future(act_on(fleet, "out", keys, {"was": False}, OPERATOR))
            await eventually(lambda: len(held) == 16)
            monkeypatch.setattr(fleet, "clock", lambda: began + acts.TURN_SECONDS)
            go.set()
            answers = await acting
    late = [one.text for one in answers if one.status == 0]
    assert late == ["the servers before it took 40 s: ask for it again"] * 8
    assert len(held) == 16


def test_a_server_with_a_worker_that_does_not_answer_has_time_to_say_so() -> None:
    needed = 2 * acted_workers.ACT_SECONDS + server_acts.REGISTRY_SECONDS
    assert needed < acts.HELD_SECONDS + ANSWER_SECONDS


async def test_a_server_with_an_act_is_read_soon() -> None:
    with admin_liar(DONE) as liar:
        async with fleet_of(liar.address) as fleet:
            server = fleet.servers[liar.address]
            server.due = fleet.clock() + 60
            await only(fleet, liar.address, was=False)
            assert server.due <= fleet.clock() + SHOWN_SECONDS
